"""Using a trained model: prediction, the dense CRF on predictions, faster copies of networks."""

from .fast import fast_copy, fold_batch_norm, prepare_for_inference
from .predictor import init_model, load_image, segment
from .refine import attach, crf_input, keep_logits, make_crf, refine, set_refined

__all__ = [
    'attach',
    'crf_input',
    'fast_copy',
    'fold_batch_norm',
    'init_model',
    'keep_logits',
    'load_image',
    'make_crf',
    'prepare_for_inference',
    'refine',
    'segment',
    'set_refined',
]
