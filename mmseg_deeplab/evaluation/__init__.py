"""Scores of a segmentation: confusion matrix, per-class table, trimap bands."""

from .confusion import Scores, confusion_matrix
from .metric import SegmentationMetric

__all__ = ['Scores', 'SegmentationMetric', 'confusion_matrix']
