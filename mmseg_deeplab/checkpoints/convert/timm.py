"""timm: Aligned Xception backbones tf_xception_41, 65 and 71, whose names this package shares."""

import re
from collections.abc import Mapping

from torch import Tensor

from ...errors import UserError
from .rules import BACKBONE_ONLY, TENSORFLOW, Conversion, Rule, apply_rules, deeplab

RULES = (
    Rule(r'head\.fc\.\w+', dropped='classification network beyond the features'),
    Rule(r'((stem|blocks)\..+)', r'backbone.\1'),
)
DEPTHS = {13: 41, 21: 65, 23: 71}


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether it has Xception's blocks under timm's names."""
    return 'blocks.0.stack.conv1.conv_dw.weight' in state


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """Convert an Aligned Xception."""
    converted, dropped = apply_rules(RULES, state, 'timm')
    blocks = 1 + max(int(match[1]) for name in state if (match := re.match(r'blocks\.(\d+)\.', name)))
    if blocks not in DEPTHS:
        raise UserError(f'this Xception has {blocks} blocks; Aligned Xception-41, 65 and 71 have {tuple(DEPTHS)}')
    backbone = dict(type='AlignedXception', depth=DEPTHS[blocks], norm_cfg=dict(type='BN', eps=1e-3))
    return Conversion(converted, deeplab(backbone, None, 16, TENSORFLOW), dropped, BACKBONE_ONLY)
