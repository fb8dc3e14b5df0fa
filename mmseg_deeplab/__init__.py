"""DeepLab v1, v2, v3, v3+ and the fully connected CRF as an MMSegmentation plugin.

Importing this package imports neither torch nor MMSegmentation. A config registers its parts by
`custom_imports = dict(imports=['mmseg_deeplab.plugin'])`; the names below are imported at their first use.
"""

import importlib
from typing import Any

__version__ = '0.1.0'

_HOMES = {
    'DenseCRF': 'crf',
    'CRFPool': 'crf',
    'UserError': 'errors',
    'init_model': 'apis',
    'predict': 'apis',
    'segment': 'apis',
}
__all__ = ['__version__', *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'.{_HOMES[name]}', __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
