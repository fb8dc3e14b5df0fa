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
        shortcut = state.get('layer2.0.downsample.1.weight')
        if shortcut is not None and shortcut.ndim == 4:
            raise UserError(
                'a ResNet-D (resnet50d, resnet101d ...) has no counterpart here: its shortcuts average before they '
                'stride. Convert resnet50, 101, 152 or one with a deep stem alone, as resnet50c and resnet50s'
            )
        converted, dropped = apply_rules(RESNET, state, 'timm')
        return Conversion(converted, deeplab(resnet(converted), None, 16, IMAGENET), dropped, BACKBONE_ONLY)
    converted, dropped = apply_rules(RULES, state, 'timm')
    blocks = 1 + max(int(match[1]) for name in state if (match := re.match(r'blocks\.(\d+)\.', name)))
    if blocks not in DEPTHS:
        raise UserError(f'this Xception has {blocks} blocks; Aligned Xception-41, 65 and 71 have {tuple(DEPTHS)}')
    backbone = dict(type='AlignedXception', depth=DEPTHS[blocks], norm_cfg=dict(type='BN', eps=1e-3))
    return Conversion(converted, deeplab(backbone, None, 16, TENSORFLOW), dropped, BACKBONE_ONLY)
