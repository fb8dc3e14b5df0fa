"""Hugging Face transformers: MobileNetV2ForSemanticSegmentation, DeepLab v3 as Google published it."""

import re
from collections.abc import Mapping

from torch import Tensor

from ...errors import UserError
from .rules import TENSORFLOW, Conversion, Rule, apply_rules, deeplab, mobilenet_unit, mobilenet_width

KINDS = {'convolution': 'conv', 'normalization': 'bn'}
STEM = {'first_conv': 'conv1', 'conv_3x3': 'layer1.0.conv.0', 'reduce_1x1': 'layer1.0.conv.1'}
UNIT = ('expand_1x1', 'conv_3x3', 'reduce_1x1')
HEAD = {'conv_pool': 'aspp.pooled.0', 'conv_aspp': 'aspp.branches.0', 'conv_projection': 'aspp.project'}


def _unit(match: re.Match) -> str:
    """The first residual, which does not expand, is in the stem."""
    return f'{mobilenet_unit(int(match[1]) + 1)}.conv.{UNIT.index(match[2])}'


LAYER = r'(convolution|normalization)\.(\w+)'
RULES = (
    Rule(
        rf'mobilenet_v2\.conv_stem\.({"|".join(STEM)})\.{LAYER}',
        lambda m: f'backbone.{STEM[m[1]]}.{KINDS[m[2]]}.{m[3]}',
    ),
    Rule(rf'mobilenet_v2\.layer\.(\d+)\.({"|".join(UNIT)})\.{LAYER}', lambda m: f'{_unit(m)}.{KINDS[m[3]]}.{m[4]}'),
    Rule(r'mobilenet_v2\.conv_1x1\..+', dropped='classification network beyond the features'),
    Rule(
        rf'segmentation_head\.({"|".join(HEAD)})\.{LAYER}', lambda m: f'decode_head.{HEAD[m[1]]}.{KINDS[m[2]]}.{m[3]}'
    ),
    Rule(r'segmentation_head\.classifier\.convolution\.(\w+)', r'decode_head.conv_seg.\1'),
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it has the segmentation head of MobileNetV2 or MobileViT."""
    return any(name.startswith(('segmentation_head.conv_pool.', 'segmentation_head.aspp.')) for name in state)


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert DeepLab v3 on MobileNetV2, without atrous branches."""
    if not any(name.startswith('mobilenet_v2.') for name in state):
        raise UserError(
            f'this network of transformers has no counterpart here: {next(iter(state))} is of MobileViT or another, '
            f'which is no backbone of the DeepLab papers. Convert a MobileNetV2ForSemanticSegmentation'
        )
    converted, dropped = apply_rules(RULES, state, 'huggingface')
    backbone = dict(
        type='DeepLabMobileNetV2',
        width=mobilenet_width(converted),
        padding='tensorflow',
        norm_cfg=dict(type='BN', eps=1e-3),
    )
    head = dict(
        type='DeepLabV3Head',
        num_classes=len(converted['decode_head.conv_seg.weight']),
        channels=len(converted['decode_head.aspp.project.conv.weight']),
        rates=(),
        norm_cfg=dict(type='BN', eps=1e-5),
        align_corners=False,
    )
    return Conversion(converted, deeplab(backbone, head, 8, TENSORFLOW), dropped, notes=[STRIDE])


STRIDE = (
    'Output stride 8 is that of the published files (config.json: output_stride, tf_padding). Their image processor '
    'resizes images to 513 pixels and cuts out the middle, which is not done here'
)
