"""Hooks that configs name."""

from .batch_loss import BatchLossHook
from .batch_norm import BatchNormHook
from .channels_last import ChannelsLastHook
from .checkpoint import CrashSafeCheckpointHook
from .classes import ClassesHook
from .dense_crf import DenseCRFHook
from .fast_inference import FastInferenceHook
from .finite import FiniteHook
from .panels import PanelHook
from .progress import ProgressHook
from .refiner import RefinerHook
from .report import ReportHook
from .strict_load import StrictLoadHook
from .validation_loss import ValidationLossHook

__all__ = [
    'BatchLossHook',
    'BatchNormHook',
    'ChannelsLastHook',
    'ClassesHook',
    'CrashSafeCheckpointHook',
    'DenseCRFHook',
    'FastInferenceHook',
    'FiniteHook',
    'PanelHook',
    'ProgressHook',
    'RefinerHook',
    'ReportHook',
    'StrictLoadHook',
    'ValidationLossHook',
]
