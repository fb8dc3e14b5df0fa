"""Using a trained model: prediction, the dense CRF on predictions, faster copies of networks."""

from .export import Check, ExportError, export_model
from .fast import fast_copy, fold_batch_norm, prepare_for_inference
from .folder import predict_to_folder
from .guided import GuidedFilter
from .model import init_model
from .prediction import Prediction
from .predictor import UnreadablePicturesError, predict, segment
from .readers import pictures_of
from .refine import attach, crf_input, keep_logits, make_crf, make_refiner, refine, set_refined
from .refiner import Refiner
from .sam import SAMRefiner

__all__ = [
    'Check',
    'ExportError',
    'GuidedFilter',
    'Prediction',
    'Refiner',
    'SAMRefiner',
    'UnreadablePicturesError',
    'attach',
    'crf_input',
    'export_model',
    'fast_copy',
    'fold_batch_norm',
    'init_model',
    'keep_logits',
    'make_crf',
    'make_refiner',
    'pictures_of',
    'predict',
    'predict_to_folder',
    'prepare_for_inference',
    'refine',
    'segment',
    'set_refined',
]
