"""Hooks that configs name."""

from .checkpoint import CrashSafeCheckpointHook
from .dense_crf import DenseCRFHook
from .fast_inference import FastInferenceHook
from .panels import PanelHook
from .progress import ProgressHook
from .report import ReportHook
from .strict_load import StrictLoadHook

__all__ = [
    'CrashSafeCheckpointHook',
    'DenseCRFHook',
    'FastInferenceHook',
    'PanelHook',
    'ProgressHook',
    'ReportHook',
    'StrictLoadHook',
]
