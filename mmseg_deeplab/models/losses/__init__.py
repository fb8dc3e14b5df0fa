"""Losses in which pixels without a label take no part."""

from .base import SegLoss
from .choose import check_loss, own_form
from .cross_entropy import SegCrossEntropy, SegFocal, SegOhemCrossEntropy
from .overlap import SegDice, SegHausdorff, SegLovasz, SegTversky

__all__ = [
    'SegCrossEntropy',
    'SegDice',
    'SegFocal',
    'SegHausdorff',
    'SegLoss',
    'SegLovasz',
    'SegOhemCrossEntropy',
    'SegTversky',
    'check_loss',
    'own_form',
]
