"""Registers the package in MMSegmentation: what `custom_imports` of a config names.

Importing this module checks the installed stack, puts weights-only loaders in the place of MMEngine's, and registers
every backbone, head, dataset, transform, metric, loop and hook in MMSegmentation's registries.
"""

from .errors import UserImportError
from .stack import check_stack, import_stack

try:
    check_stack()
except ImportError as error:
    raise UserImportError(str(error)) from None
import_stack()

from mmseg.registry import MODELS  # noqa: E402

from . import datasets, engine, models  # noqa: E402, F401
from .checkpoints import initializer, load  # noqa: E402, F401
from .crf import DenseCRFLayer  # noqa: E402
from .evaluation import metric, trimap  # noqa: E402, F401

# Here, as the CRF's room knows nothing of MMSegmentation and that of the networks nothing of the CRF.
MODELS.register_module(module=DenseCRFLayer)
