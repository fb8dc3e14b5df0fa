"""The names that scripts and notebooks have imported from here; their home is `mmseg_deeplab.inference`."""

from . import plugin  # noqa: F401  checks the stack, registers what configs name
from .inference import init_model, predict, segment

__all__ = ['init_model', 'predict', 'segment']
