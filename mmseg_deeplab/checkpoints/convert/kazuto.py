"""kazuto1011/deeplab-pytorch: DeepLab v2 on ResNet-101, its own and those converted from Caffe."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .rules import BACKBONE_ONLY, CAFFE, Conversion, Rule, apply_rules, deeplab, resnet

# 'base.' with multi-scale inputs; 'scale.' in older releases
BEGIN = r'(?:base\.|scale\.)?'
UNIT = BEGIN + r'layer([2-5])\.block(\d+)\.'
CONVS = dict(reduce=1, conv3x3=2, increase=3)


def _unit(match: re.Match) -> str:
    """layer2 is block1, and units count from 1."""
    return f'backbone.layer{int(match[1]) - 1}.{int(match[2]) - 1}'


RULES = (
    Rule(BEGIN + r'fc\.\w+', dropped='classifier of the pretraining'),
    Rule(BEGIN + r'layer1\.conv1\.conv\.weight', 'backbone.conv1.weight'),
    Rule(BEGIN + r'layer1\.conv1\.bn\.(\w+)', r'backbone.bn1.\1'),
    Rule(UNIT + r'shortcut\.conv\.weight', lambda m: f'{_unit(m)}.downsample.0.weight'),
    Rule(UNIT + r'shortcut\.bn\.(\w+)', lambda m: f'{_unit(m)}.downsample.1.{m[3]}'),
    Rule(UNIT + r'(reduce|conv3x3|increase)\.conv\.weight', lambda m: f'{_unit(m)}.conv{CONVS[m[3]]}.weight'),
    Rule(UNIT + r'(reduce|conv3x3|increase)\.bn\.(\w+)', lambda m: f'{_unit(m)}.bn{CONVS[m[3]]}.{m[4]}'),
    Rule(BEGIN + r'aspp\.(?:stages\.)?c(\d)\.(\w+)', r'decode_head.classifiers.\1.\2'),
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it has units named reduce, conv3x3, increase."""
    return any(re.fullmatch(UNIT + r'reduce\.conv\.weight', name) for name in state)


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert DeepLab v2, or the COCO-pretrained network that it starts from."""
    converted, dropped = apply_rules(RULES, state, 'kazuto')
    backbone = resnet(converted, strided_conv='1x1', rate_of_lost_stride='new', ceil_mode=True)
    if 'decode_head.classifiers.0.weight' not in converted:
        return Conversion(converted, deeplab(backbone, None, 8, CAFFE), dropped, BACKBONE_ONLY)
    notes = [CORNERS]
    if len(converted['decode_head.classifiers.0.weight']) == COCO_STUFF_IDS:
        used = [i for i in range(COCO_STUFF_IDS) if i + 1 not in NEVER_ANNOTATED]
        for name in [name for name in converted if name.startswith('decode_head.classifiers.')]:
            converted[name] = converted[name][used].clone()  # a view would be saved with all of its storage
        notes.append(COCO_STUFF)
    head = dict(
        type='DeepLabV2Head',
        num_classes=len(converted['decode_head.classifiers.0.weight']),
        rates=(6, 12, 18, 24),
        align_corners=False,
    )
    multi_scale = any(name.startswith(('base.', 'scale.')) for name in state)
    scales: dict[str, Any] = dict(multi_scale_inputs=(1.0, 0.75, 0.5), scaled_size='factor') if multi_scale else {}
    return Conversion(converted, deeplab(backbone, head, 8, CAFFE, **scales), dropped, notes=notes)


COCO_STUFF_IDS = 182
NEVER_ANNOTATED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)  # of the ids from 1 on
COCO_STUFF = (
    'Of the 182 outputs for COCO-Stuff, the 11 of ids that no image shows are left out; the 171 others are the classes '
    'of configs/_base_/datasets/coco_stuff*.py, in their order'
)
CORNERS = (
    'align_corners=False is how that codebase resizes, also with the weights converted from Caffe; the Caffe original '
    'itself resizes with align_corners=True'
)
