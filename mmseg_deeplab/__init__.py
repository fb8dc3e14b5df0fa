"""DeepLab v1, v2, v3, v3+ and the fully connected CRF as an MMSegmentation plugin.

Importing this package checks the installed stack and registers every backbone, head, dataset, transform, metric and
hook in MMSegmentation's registries; a config does so by `custom_imports`.
"""

from .stack import check_stack, import_stack

__version__ = '0.1.0'

check_stack()
import_stack()

from . import checkpoints, datasets, engine, evaluation, models, visualization  # noqa: E402, F401
