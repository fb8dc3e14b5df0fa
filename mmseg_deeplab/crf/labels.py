"""Probabilities for hard labels, which the dense CRF can refine."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .inputs import to_array


def from_labels(labels, num_classes: int, certainty: float = 0.7, unsure: int | None = None):
    """Probabilities (C, H, W) for a map of class numbers, to refine hard labels: scribbles, masks, pseudo-labels.

    The same as the reference's unary_from_labels: the labelled class gets `certainty`, the others share the rest.

    Args:
        labels: integers (H, W) or of any shape; numpy or torch.
        num_classes: C >= 2.
        certainty: the probability that a label is right, in (0, 1).
        unsure: the label of pixels that could be anything: all classes are equally likely there. With 0, label 1 is
            class 0, as in the reference; with any other, such as 255, labels are class numbers.

    Returns:
        float32 (C, ...) of the library and device of `labels`.
    """
    if not _is_whole(num_classes) or num_classes < 2:
        raise UserError(f'num_classes={num_classes!r}: expected a whole number >= 2')
    if not isinstance(certainty, Real) or not 0 < certainty < 1:
        raise UserError(f'certainty={certainty!r}: expected a probability between 0 and 1, such as 0.7')
    if unsure is not None and not _is_whole(unsure):
        raise UserError(f'unsure={unsure!r}: expected one label, such as 255, or None')
    array = to_array(labels)
    if array.dtype.kind not in 'iub' or array.size == 0:
        raise UserError(f'labels have type {array.dtype} and shape {array.shape}: expected whole numbers (H, W)')
    array = array.astype(np.int64)
    anything = np.zeros(array.shape, bool) if unsure is None else array == unsure
    first = 1 if unsure == 0 else 0
    classes = array - first
    wrong = ~anything & ((classes < 0) | (classes >= num_classes))
    if wrong.any():
        raise UserError(
            f'labels hold {array[wrong][0]}, but classes are {first} to {num_classes - 1 + first}'
            f'{"" if unsure is None else f" and {unsure} is unsure"}: '
            f'give num_classes, or name the label of void as unsure'
        )
    known = np.arange(num_classes).reshape(-1, *[1] * array.ndim) == classes
    probabilities = np.where(known, certainty, (1 - certainty) / (num_classes - 1)).astype(np.float32)
    probabilities[:, anything] = 1 / num_classes
    return torch.from_numpy(probabilities).to(labels.device) if isinstance(labels, Tensor) else probabilities


def _is_whole(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
