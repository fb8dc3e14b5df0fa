"""VainF/DeepLabV3Plus-Pytorch: DeepLab v3 and v3+ on ResNet-50, 101 and MobileNetV2."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .rules import (
    IMAGENET,
    Conversion,
    Rule,
    apply_rules,
    deeplab,
    densify,
    encoder_first,
    resnet,
    torchvision_aspp,
    torchvision_mobilenet,
)

LOW_LEVEL_WIDTH = 48

BACKBONE = (
    *torchvision_mobilenet(r'backbone\.(?:low|high)_level_features\.'),
    Rule(r'(backbone\.(?:conv1|bn1|layer\d)\..+)', r'\1'),
)
RULES = (
    *BACKBONE,
    *torchvision_aspp(r'classifier\.classifier\.0'),
    Rule(r'classifier\.classifier\.1\.weight', 'decode_head.extra.0.conv.weight'),
    Rule(r'classifier\.classifier\.2\.(\w+)', r'decode_head.extra.0.bn.\1'),
    Rule(r'classifier\.classifier\.4\.(\w+)', r'decode_head.conv_seg.\1'),
)
RULES_PLUS = (
    *BACKBONE,
    Rule(r'classifier\.project\.0\.weight', 'decode_head.low_level.conv.weight'),
    Rule(r'classifier\.project\.1\.(\w+)', r'decode_head.low_level.bn.\1'),
    *torchvision_aspp(r'classifier\.aspp'),
    Rule(r'classifier\.classifier\.0\.weight', 'decode_head.decoder.0.conv.weight', encoder_first(LOW_LEVEL_WIDTH)),
    Rule(r'classifier\.classifier\.1\.(\w+)', r'decode_head.decoder.0.bn.\1'),
    Rule(r'classifier\.classifier\.3\.(\w+)', r'decode_head.conv_seg.\1'),
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it has a classifier in a classifier."""
    return any(name.startswith('classifier.classifier.') for name in state)


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert v3 or v3+; separable convolutions, which have nothing in between there, become full ones."""
    state = densify(state, '.body.0.weight', '.body.1.weight')
    plus = 'classifier.project.0.weight' in state
    converted, dropped = apply_rules(RULES_PLUS if plus else RULES, state, 'vainf')
    head: dict[str, Any] = dict(
        num_classes=len(converted['decode_head.conv_seg.weight']), rates=(6, 12, 18), align_corners=False
    )
    head['channels'] = len(converted['decode_head.aspp.project.conv.weight'])
    if plus:
        head.update(type='DeepLabV3PlusHead', low_level_width=LOW_LEVEL_WIDTH, decoder_kernels=(3,))
        head['decoder_channels'] = len(converted['decode_head.decoder.0.conv.weight'])
    else:
        head.update(type='DeepLabV3Head', extra_convs=1)
    notes = [STRIDE]
    if 'backbone.conv1.conv.weight' in converted:
        backbone = dict(type='DeepLabMobileNetV2', low_level='output', padding='input')
    else:
        backbone = resnet(converted, multi_grid=None, strided_conv='3x3', rate_of_lost_stride='old')
    return Conversion(converted, deeplab(backbone, head, 16, IMAGENET), dropped, notes=notes)


STRIDE = 'Output stride 16 is that of the published files; for one trained at 8 set model.output_stride=8'
