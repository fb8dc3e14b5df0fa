"""Turns what a user hands in (numpy or torch, any float type and memory layout) into checked tensors, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError

# Probabilities that bilinear resizing in half precision leaves slightly above one are not worth refusing.
_LARGEST_PROBABILITY = 1.01


def to_image(image, where: str) -> Tensor:
    """A contiguous uint8 tensor (H, W, 3); raises ValueError for anything that is not an 8-bit RGB image."""
    shape, dtype = getattr(image, 'shape', None), getattr(image, 'dtype', type(image).__name__)
    if shape is None or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise UserError(f'{where} has shape {_text(shape)}: expected (height, width, 3), RGB')
    if dtype not in (torch.uint8, np.uint8):
        raise UserError(f'{where} has type {dtype}: expected uint8 RGB, the original image, not a normalised one')
    return _to_tensor(image).contiguous()


def to_scores(scores, kind: str, where: str) -> Tensor:
    """A float32 tensor (C, H, W) of `kind` 'probabilities' or 'logits', on the device where it was.

    Raises ValueError for a wrong shape, no class, NaN or infinite numbers, and probabilities outside [0, 1].
    """
    shape = getattr(scores, 'shape', None)
    if shape is None or len(shape) != 3 or 0 in shape[1:]:
        raise UserError(f'{where} have shape {_text(shape)}: expected (classes, height, width)')
    if shape[0] == 0:
        raise UserError(f'{where} have shape {_text(shape)}: there are zero classes')
    tensor = _to_tensor(scores)
    if not tensor.is_floating_point():
        raise UserError(f'{where} have type {scores.dtype}: expected a float type')
    tensor = tensor.detach().float()
    low, high = (value.item() for value in torch.aminmax(tensor))
    if not (np.isfinite(low) and np.isfinite(high)):  # aminmax hands on NaN
        raise UserError(f'{where} hold NaN or infinite numbers: look at the network that made them')
    if kind == 'probabilities' and (low < 0 or high > _LARGEST_PROBABILITY):
        wrong = 'negative numbers' if low < 0 else 'numbers above one'
        raise UserError(
            f'{where} hold {wrong} (range {low:g} to {high:g}), so they are no probabilities; '
            f"for logits use DenseCRF(input='logits')"
        )
    return tensor


def to_unary(scores: Tensor, kind: str, clip: float) -> Tensor:
    """Unary energies (C, N) = -log of the probabilities clipped to [clip, 1]; N runs along the rows."""
    probabilities = scores.softmax(0) if kind == 'logits' else scores
    return probabilities.flatten(1).clamp(clip, 1).log_().neg_()


def like(probabilities: Tensor, original):
    """`probabilities` as the library, floating-point type and device of `original`."""
    if isinstance(original, Tensor):
        return probabilities.to(original.device, original.dtype)
    return probabilities.cpu().numpy().astype(original.dtype, copy=False)


def _to_tensor(array) -> Tensor:
    if isinstance(array, Tensor):
        return array
    array = np.asarray(array)
    if array.dtype.kind == 'f' and array.dtype not in (np.float16, np.float32, np.float64):
        array = array.astype(np.float64)
    # torch refuses negative strides, foreign byte order and read-only memory.
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder('='), ['C', 'W']))


def _text(shape) -> str:
    return 'none' if shape is None else str(tuple(shape))
