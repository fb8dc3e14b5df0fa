"""Scores of a segmentation: confusion matrix, per-class table, trimaps."""

from .confusion import Scores, confusion_matrix
from .metric import SegmentationMetric
from .trimap import TrimapCurve, TrimapMetric, trimap_width

__all__ = ['Scores', 'SegmentationMetric', 'TrimapCurve', 'TrimapMetric', 'confusion_matrix', 'trimap_width']
