"""segmentation_models.pytorch: DeepLabV3 and DeepLabV3Plus on the encoders resnet50, 101 and 152."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .rules import IMAGENET, Conversion, Rule, apply_rules, deeplab, densify, resnet, torchvision_aspp

COMMON = (
    Rule(r'encoder\.((conv1|bn1|layer\d)\..+)', r'backbone.\1'),
    Rule(r'segmentation_head\.0\.(\w+)', r'decode_head.conv_seg.\1'),
)
RULES = (
    *COMMON,
    *torchvision_aspp(r'decoder\.0'),
    Rule(r'decoder\.1\.weight', 'decode_head.extra.0.conv.weight'),
    Rule(r'decoder\.2\.(\w+)', r'decode_head.extra.0.bn.\1'),
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
    state = densify(state, '.0.weight', '.1.weight')
    plus = 'decoder.block1.0.weight' in state
    converted, dropped = apply_rules(RULES_PLUS if plus else RULES, state, 'smp')
    backbone = resnet(converted, multi_grid=None, strided_conv='3x3', rate_of_lost_stride='new')
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
    return Conversion(converted, deeplab(backbone, head, 16 if plus else 8, IMAGENET), dropped, notes=[RATES])


RATES = (
    'Rates 12, 24, 36 are the default of this library, at output stride 16 for DeepLabV3Plus and at 8 for DeepLabV3; '
    'the file does not tell. For others set model.output_stride and model.decode_head.rates'
)
