"""Safe, strict and explained loading of checkpoints, and converters from other codebases."""

from .load import load_file
from .save import atomic_write, save_file
from .strict import CheckpointMismatchError, load_state_dict

__all__ = ['CheckpointMismatchError', 'atomic_write', 'load_file', 'load_state_dict', 'save_file']
