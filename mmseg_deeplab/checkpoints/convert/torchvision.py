"""torchvision: ResNets of ImageNet, and deeplabv3_resnet50/101 (COCO images, VOC's 21 classes)."""

from collections.abc import Mapping

from torch import Tensor

from ...errors import UserError
from .rules import (
    BACKBONE_ONLY,
    IMAGENET,
    Conversion,
    Rule,
    apply_rules,
    deeplab,
    resnet,
    torchvision_aspp,
)

RULES = (
    Rule(r'fc\.\w+', dropped='classification network beyond the features'),
    Rule(r'((conv1|bn1|layer\d)\..+)', r'backbone.\1'),
    Rule(r'(backbone\..+)', r'\1'),
    *torchvision_aspp(r'classifier\.0'),
    Rule(r'classifier\.1\.weight', 'decode_head.extra.0.conv.weight'),
    Rule(r'classifier\.2\.(\w+)', r'decode_head.extra.0.bn.\1'),
    Rule(r'classifier\.4\.(\w+)', r'decode_head.conv_seg.\1'),
    Rule(r'aux_classifier\..+', dropped='auxiliary head, which only trains'),
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it is a ResNet of torchvision, or one of its segmentation models."""
    return 'classifier.0.convs.0.0.weight' in state or ('layer4.2.conv3.weight' in state and 'conv1.weight' in state)


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert a ResNet, or DeepLab v3 on one."""
    if 'backbone.0.0.weight' in state:
        raise UserError(
            'deeplabv3_mobilenet_v3_large of torchvision has no counterpart here: MobileNetV3 is no backbone of the '
            'DeepLab papers. Convert deeplabv3_resnet50 or deeplabv3_resnet101 instead'
        )
    converted, dropped = apply_rules(RULES, state, 'torchvision')
    backbone = resnet(converted)
    if 'classifier.4.weight' not in state:
        return Conversion(converted, deeplab(backbone, None, 16, IMAGENET), dropped, BACKBONE_ONLY)
    backbone.update(multi_grid=None, strided_conv='3x3', rate_of_lost_stride='old')
    head = dict(
        type='DeepLabV3Head',
        num_classes=len(state['classifier.4.weight']),
        channels=len(converted['decode_head.aspp.project.conv.weight']),
        rates=(6, 12, 18),  # 12, 24, 36 at output stride 8
        extra_convs=1,
        align_corners=False,
    )
    return Conversion(converted, deeplab(backbone, head, 8, IMAGENET), dropped)
