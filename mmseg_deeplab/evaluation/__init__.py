"""Scores of a segmentation: confusion matrix, per-class table, trimaps.

The confusion matrix and its scores need numpy only; the metrics, which need MMSegmentation, are imported at their first
use, or registered by `mmseg_deeplab.plugin`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .confusion import Scores, confusion_matrix

if TYPE_CHECKING:
    from .metric import SegmentationMetric
    from .trimap import TrimapCurve, TrimapMetric, trimap_width

_HOMES = {'SegmentationMetric': 'metric', 'TrimapCurve': 'trimap', 'TrimapMetric': 'trimap', 'trimap_width': 'trimap'}
__all__ = ['Scores', 'SegmentationMetric', 'TrimapCurve', 'TrimapMetric', 'confusion_matrix', 'trimap_width']


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'.{_HOMES[name]}', __name__), name)
