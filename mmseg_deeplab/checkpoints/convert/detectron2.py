"""detectron2 projects/DeepLab: DeepLab v3 and v3+ on ResNet-101 and on ResNet-103 (three 3x3 convolutions first)."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .rules import (
    IMAGENET,
    Conversion,
    Rule,
    apply_rules,
    deeplab,
    encoder_first,
    pool_first,
    resnet,
)

ASPP = r'sem_seg_head\.(?:aspp|decoder\.res5\.project_conv)\.'
DECODER = r'sem_seg_head\.decoder\.res2\.'
OURS = 'decode_head.aspp'


def _unit(match: re.Match) -> str:
    return f'backbone.layer{int(match[1]) - 1}.{match[2]}'


def _layer(pattern: str, target: str, transform=None) -> tuple[Rule, Rule]:
    """Rules of a convolution with its `norm`."""
    weight = {} if transform is None else dict(transform=transform)
    return (
        Rule(pattern + r'\.weight', f'{target}.conv.weight', **weight),
        Rule(pattern + r'\.norm\.(?P<parameter>\w+)', rf'{target}.bn.\g<parameter>'),
    )


def _rules(deep_stem: bool, low_level_width: int) -> tuple[Rule, ...]:
    stem = (
        Rule(r'backbone\.stem\.conv([123])\.weight', lambda m: f'backbone.stem.{3 * int(m[1]) - 3}.weight'),
        Rule(r'backbone\.stem\.conv([123])\.norm\.(\w+)', lambda m: f'backbone.stem.{3 * int(m[1]) - 2}.{m[2]}'),
    )
    if not deep_stem:
        stem = (
            Rule(r'backbone\.stem\.conv1\.weight', 'backbone.conv1.weight'),
            Rule(r'backbone\.stem\.conv1\.norm\.(\w+)', r'backbone.bn1.\1'),
        )
    swap = encoder_first(low_level_width)
    return (
        Rule(r'pixel_(mean|std)', dropped='normalisation of the input, which the config has'),
        *stem,
        Rule(r'backbone\.res(\d)\.(\d+)\.shortcut\.weight', lambda m: f'{_unit(m)}.downsample.0.weight'),
        Rule(r'backbone\.res(\d)\.(\d+)\.shortcut\.norm\.(\w+)', lambda m: f'{_unit(m)}.downsample.1.{m[3]}'),
        Rule(r'backbone\.res(\d)\.(\d+)\.(conv\d)\.weight', lambda m: f'{_unit(m)}.{m[3]}.weight'),
        Rule(r'backbone\.res(\d)\.(\d+)\.conv(\d)\.norm\.(\w+)', lambda m: f'{_unit(m)}.bn{m[3]}.{m[4]}'),
        *_layer(ASPP + r'convs\.(\d)', OURS + r'.branches.\1'),
        *_layer(ASPP + r'convs\.(\d)\.(depthwise|pointwise)', OURS + r'.branches.\1.\2_conv'),
        Rule(ASPP + r'convs\.4\.1\.weight', OURS + '.pooled.0.conv.weight'),
        Rule(ASPP + r'convs\.4\.1\.bias', OURS + '.pooled.0.bn.bias'),
        *_layer(ASPP + r'project', OURS + '.project', pool_first(5)),
        *_layer(DECODER + r'project_conv', 'decode_head.low_level'),
        *_layer(DECODER + r'fuse_conv\.0', 'decode_head.decoder.0', swap),
        *_layer(DECODER + r'fuse_conv\.1', 'decode_head.decoder.1'),
        Rule(
            DECODER + r'fuse_conv\.depthwise\.weight',
            'decode_head.decoder.0.depthwise_conv.conv.weight',
            lambda weight: weight.roll(-low_level_width, dims=0),
        ),
        Rule(
            DECODER + r'fuse_conv\.depthwise\.norm\.(\w+)',
            r'decode_head.decoder.0.depthwise_conv.bn.\1',
            lambda value: value.roll(-low_level_width, dims=0) if value.ndim else value,
        ),
        *_layer(DECODER + r'fuse_conv\.pointwise', 'decode_head.decoder.0.pointwise_conv', swap),
        Rule(r'sem_seg_head\.predictor\.(\w+)', r'decode_head.conv_seg.\1'),
    )


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it has a semantic segmentation head of detectron2."""
    return 'sem_seg_head.predictor.weight' in state


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert v3 or v3+."""
    low_level = state.get('sem_seg_head.decoder.res2.project_conv.weight')
    deep_stem = 'backbone.stem.conv2.weight' in state
    converted, dropped = apply_rules(_rules(deep_stem, 0 if low_level is None else len(low_level)), state, 'detectron2')
    # The pooled branch has a bias and no batch norm: one that does nothing but add it.
    bias = converted[f'{OURS}.pooled.0.bn.bias']
    converted[f'{OURS}.pooled.0.bn.weight'] = torch.ones_like(bias)
    converted[f'{OURS}.pooled.0.bn.running_mean'] = torch.zeros_like(bias)
    backbone = resnet(converted, multi_grid=(1, 2, 4), strided_conv='3x3', rate_of_lost_stride='new')
    head: dict[str, Any] = dict(
        type='DeepLabV3Head',
        num_classes=len(converted['decode_head.conv_seg.weight']),
        channels=len(converted[f'{OURS}.project.conv.weight']),
        rates=(6, 12, 18),
        separable_aspp=f'{OURS}.branches.1.depthwise_conv.conv.weight' in converted,
        align_corners=False,
    )
    if low_level is not None:
        separable = 'decode_head.decoder.0.depthwise_conv.conv.weight' in converted
        head.update(
            type='DeepLabV3PlusHead',
            low_level_width=len(low_level),
            decoder_channels=len(state['sem_seg_head.predictor.weight'][0]),
            decoder_kernels=(5,) if separable else (3, 3),
            separable_decoder=separable,
        )
    return Conversion(
        converted,
        deeplab(backbone, head, 16, IMAGENET, test_padding='cells'),
        dropped,
        identity_norms=[f'{OURS}.pooled.0.bn'],
        notes=[POOLING],
    )


POOLING = (
    'Image pooling there averages over a window of the training crop (512 x 1024 pixels on Cityscapes), here over '
    'the whole image; inputs of the crop size give the same. Its multi-grid 1, 2, 4 is assumed'
)
