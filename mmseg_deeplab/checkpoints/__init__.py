"""Safe, strict and explained loading of checkpoints, converters from other codebases, and the one atomic write.

The names below are imported at their first use, so that writing a file (`save`) needs no OpenMMLab package.
"""

import importlib
from typing import Any

_HOMES = {
    'CheckpointMismatchError': 'comparison',
    'StrictPretrained': 'initializer',
    'atomic_write': 'save',
    'load_file': 'load',
    'load_state_dict': 'strict',
    'save_file': 'save',
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'.{_HOMES[name]}', __name__), name)
