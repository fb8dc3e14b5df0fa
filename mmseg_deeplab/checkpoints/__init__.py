"""Safe, strict and explained loading of checkpoints, and converters from other codebases."""

from .comparison import CheckpointMismatchError
from .initializer import StrictPretrained
from .load import load_file
from .save import atomic_write, save_file
from .strict import load_state_dict

__all__ = [
    'CheckpointMismatchError',
    'StrictPretrained',
    'atomic_write',
    'load_file',
    'load_state_dict',
    'save_file',
]
