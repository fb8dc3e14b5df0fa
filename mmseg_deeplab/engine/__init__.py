"""Runner, hooks and optimizer wrappers."""

from . import hooks
from .amp import CPUAmpOptimWrapper
from .exact_resume import ExactResumeHook, ResumableSampler
from .optim import DeepLabOptimWrapperConstructor
from .runner import DeepLabRunner

__all__ = [
    'CPUAmpOptimWrapper',
    'DeepLabOptimWrapperConstructor',
    'DeepLabRunner',
    'ExactResumeHook',
    'ResumableSampler',
    'hooks',
]
