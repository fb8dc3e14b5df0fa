"""timm: Aligned Xception backbones tf_xception_41, 65 and 71, whose names are shared; ResNets with a deep stem.

Plain ResNets (resnet50, resnet101, resnet152) have torchvision's names and are converted as its.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from ...errors import UserError
from .rules import BACKBONE_ONLY, IMAGENET, TENSORFLOW, Conversion, Rule, apply_rules, deeplab, resnet

RULES = (
    Rule(r'head\.fc\.\w+', dropped='classification network beyond the features'),
    Rule(r'((stem|blocks)\..+)', r'backbone.\1'),
)
RESNET = (
    Rule(r'fc\.\w+', dropped='classification network beyond the features'),
    Rule(r'conv1\.([036])\.weight', r'backbone.stem.\1.weight'),
    Rule(r'conv1\.([14])\.(\w+)', r'backbone.stem.\1.\2'),
    Rule(r'bn1\.(\w+)', r'backbone.stem.7.\1'),
    Rule(r'(layer\d\..+)', r'backbone.\1'),
)
DEPTHS = {13: 41, 21: 65, 23: 71}


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it has Xception's blocks, or a ResNet's deep stem, under timm's names."""
    return 'blocks.0.stack.conv1.conv_dw.weight' in state or {'conv1.0.weight', 'layer4.2.conv3.weight'} <= set(state)


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert an Aligned Xception, or a ResNet with a stem of three convolutions."""
    if 'conv1.0.weight' in state:
        converted, dropped = apply_rules(RESNET, state, 'timm')
        backbone = resnet(converted)
        notes = [AVERAGES] if 'avg_down' in backbone else []
        return Conversion(converted, deeplab(backbone, None, 16, IMAGENET), dropped, BACKBONE_ONLY, notes=notes)
    converted, dropped = apply_rules(RULES, state, 'timm')
    blocks = 1 + max(int(match[1]) for name in state if (match := re.match(r'blocks\.(\d+)\.', name)))
    if blocks not in DEPTHS:
        raise UserError(f'this Xception has {blocks} blocks; Aligned Xception-41, 65 and 71 have {tuple(DEPTHS)}')
    backbone = dict(type='AlignedXception', depth=DEPTHS[blocks], norm_cfg=dict(type='BN', eps=1e-3))
    return Conversion(converted, deeplab(backbone, None, 16, TENSORFLOW), dropped, BACKBONE_ONLY)


AVERAGES = (
    'Where a block loses its stride, at output stride 8 and 16, its shortcut does not average here, as in '
    'MMSegmentation; that of timm averages 2 x 2 cells at a stride of 1'
)
