"""Runner, hooks and optimizer wrappers."""

from . import hooks
from .amp import CPUAmpOptimWrapper
from .exact_resume import ExactResumeHook, ResumableSampler
from .optim import DeepLabOptimWrapperConstructor
from .poly_lr import DeepLabPolyLR
from .runner import DeepLabRunner

__all__ = [
    'CPUAmpOptimWrapper',
    'DeepLabOptimWrapperConstructor',
    'DeepLabPolyLR',
    'DeepLabRunner',
    'ExactResumeHook',
    'ResumableSampler',
    'hooks',
]
