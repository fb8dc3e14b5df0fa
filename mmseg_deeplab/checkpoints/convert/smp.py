"""segmentation_models.pytorch: DeepLabV3 and DeepLabV3Plus on ResNet-50, 101, 152 and MobileNetV2.

The names of DeepLabV3's decoder are those of version 0.5 and before, or of 0.6."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...errors import UserError
from .rules import (
    IMAGENET,
    Conversion,
    Rule,
    apply_rules,
    deeplab,
    densify,
    mobilenet_width,
    resnet,
    torchvision_aspp,
    torchvision_mobilenet,
)

ENCODERS = {'encoder.layer1.0.conv1.weight', 'encoder.model.layer1.0.conv1.weight', 'encoder.features.18.0.weight'}

COMMON = (
    Rule(r'encoder\.(?:model\.)?((conv1|bn1|layer\d)\..+)', r'backbone.\1'),
    *torchvision_mobilenet(r'encoder\.features\.'),
    Rule(r'encoder\.features\.18\.0\.weight', 'backbone.conv2.conv.weight'),
    Rule(r'encoder\.features\.18\.1\.(\w+)', r'backbone.conv2.bn.\1'),
    Rule(r'classification_head\..+', dropped='classifier of whole images'),
    Rule(r'segmentation_head\.0\.(\w+)', r'decode_head.conv_seg.\1'),
)
RULES = (
    *COMMON,
    *torchvision_aspp(r'decoder\.(?:0|aspp)'),
    Rule(r'decoder\.(?:1|conv)\.weight', 'decode_head.extra.0.conv.weight'),
    Rule(r'decoder\.(?:2|bn)\.(\w+)', r'decode_head.extra.0.bn.\1'),
)
RULES_PLUS = (
    *COMMON,
    *torchvision_aspp(r'decoder\.aspp\.0'),
    Rule(r'decoder\.aspp\.1\.weight', 'decode_head.extra.0.conv.weight'),
    Rule(r'decoder\.aspp\.2\.(\w+)', r'decode_head.extra.0.bn.\1'),
    Rule(r'decoder\.block1\.0\.weight', 'decode_head.low_level.conv.weight'),
    Rule(r'decoder\.block1\.1\.(\w+)', r'decode_head.low_level.bn.\1'),
    Rule(r'decoder\.block2\.0\.weight', 'decode_head.decoder.0.conv.weight'),
    Rule(r'decoder\.block2\.1\.(\w+)', r'decode_head.decoder.0.bn.\1'),
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it has an encoder and a segmentation head."""
    return 'segmentation_head.0.weight' in state and any(name.startswith('encoder.') for name in state)


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert v3 or v3+; separable convolutions, which have nothing in between there, become full ones."""
    if not ENCODERS & set(state):
        raise UserError(
            f'this encoder has no counterpart here: {next(n for n in state if n.startswith("encoder."))} is in none '
            f' of ResNet-50, 101, 152 and MobileNetV2, the backbones that both code bases have'
        )
    state = densify(state, '.0.weight', '.1.weight')
    plus = 'decoder.block1.0.weight' in state
    converted, dropped = apply_rules(RULES_PLUS if plus else RULES, state, 'smp')
    if 'backbone.conv2.conv.weight' in converted:
        backbone: dict[str, Any] = dict(
            type='DeepLabMobileNetV2',
            width=mobilenet_width(converted),
            low_level='output',
            row_rates=(1, 1, 1, 1, 1, 2, 2) if plus else (1, 1, 1, 2, 2, 4, 4),
            last_conv=True,
        )
    else:
        # Its own encoders give all convolutions of a stage one rate, those of timm ('tu-resnet50') do not.
        lost = 'old' if 'encoder.model.conv1.weight' in state else 'new'
        backbone = resnet(converted, multi_grid=None, strided_conv='3x3', rate_of_lost_stride=lost)
    head: dict[str, Any] = dict(
        type='DeepLabV3PlusHead' if plus else 'DeepLabV3Head',
        num_classes=len(converted['decode_head.conv_seg.weight']),
        channels=len(converted['decode_head.aspp.project.conv.weight']),
        rates=(12, 24, 36) if plus else (6, 12, 18),
        extra_convs=1,
        align_corners=True,
    )
    if plus:
        head.update(
            low_level_width=len(converted['decode_head.low_level.conv.weight']),
            decoder_channels=len(converted['decode_head.decoder.0.conv.weight']),
            decoder_kernels=(3,),
        )
    model = deeplab(backbone, head, 16 if plus else 8, IMAGENET, test_padding='none')
    return Conversion(converted, model, dropped, notes=[RATES])


RATES = (
    'Rates 12, 24, 36 are the default of this library, at output stride 16 for DeepLabV3Plus '
    'and at 8 for DeepLabV3. For others set model.output_stride and model.decode_head.rates, on MobileNetV2 also '
    'model.backbone.row_rates: (1, 1, 1, 2, 2, 4, 4) at 8, (1, 1, 1, 1, 1, 2, 2) at 16'
)
