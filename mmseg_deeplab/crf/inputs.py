"""Turns what a user hands in (numpy or torch, any float type and memory layout) into checked tensors, and back."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from . import native

# Probabilities that bilinear resizing in half precision leaves slightly above one are not worth refusing.
_LARGEST_PROBABILITY = 1.01

_HARD = (
    'are hard labels, which no picture can change: use the softmax of the network, or '
    'DenseCRF.from_labels(labels, num_classes), which says how certain they are'
)


def to_image(image, where: str) -> Tensor:
    """A contiguous tensor (H, W, B) of uint8, uint16 or float32; raises UserError for anything that is no picture."""
    shape, dtype = getattr(image, 'shape', None), getattr(image, 'dtype', None)
    if shape is None or dtype is None:
        raise UserError(
            f'{where} has shape none (it is a {type(image).__name__}): expected (height, width, 3), RGB, such as '
            f"numpy.asarray(PIL.Image.open(path).convert('RGB'))"
        )
    if not isinstance(dtype, torch.dtype):
        dtype = dtype.newbyteorder('=')
    if len(shape) not in (2, 3) or 0 in shape:
        raise UserError(
            f'{where} has shape {tuple(shape)}: expected (height, width, 3), RGB, or another number of bands'
        )
    if not (dtype in (torch.uint8, torch.uint16, np.uint8, np.uint16) or is_float(dtype)):
        raise UserError(
            f'{where} has type {dtype}: expected uint8 RGB, the original image, not a normalised one; uint16 and float '
            f'are taken, too, with standard deviations in their units'
        )
    tensor = _to_tensor(image).detach()
    if tensor.is_floating_point():
        tensor = tensor.float()
        if not tensor.isfinite().all():
            raise UserError(f'{where} holds NaN or infinite numbers')
    return (tensor[..., None] if tensor.ndim == 2 else tensor).contiguous()


def band_ranges(image: Tensor) -> tuple[list[float], list[float]]:
    """Smallest and largest value of each band of (H, W, B); for 8 bits 0 and 255, whatever is there."""
    bands = image.shape[2]
    if image.dtype == torch.uint8:
        return [0.0] * bands, [255.0] * bands
    flat = image.flatten(0, 1).float()  # torch knows no smallest of uint16
    return flat.amin(0).tolist(), flat.amax(0).tolist()


def is_float(dtype) -> bool:
    return dtype.is_floating_point if isinstance(dtype, torch.dtype) else getattr(dtype, 'kind', '') == 'f'


def to_scores(scores, kind: str, where: str, spatial: int | None = 2) -> Tensor:
    """A float32 tensor (C, H, W) of `kind` 'probabilities' or 'logits', on the device where it was.

    Args:
        spatial: number of axes after the classes; None for any.

    Raises UserError for a wrong shape, less than two classes, NaN or infinite numbers, probabilities outside [0, 1],
    and scores that no picture can change: all zero, or hard labels.
    """
    shape = getattr(scores, 'shape', None)
    wrong = shape is None or len(shape) < 2 or 0 in shape[1:] or (spatial is not None and len(shape) != spatial + 1)
    if wrong:
        raise UserError(f'{where} have shape {_text(shape)}: expected (classes, height, width)')
    if shape[0] == 0:
        raise UserError(f'{where} have shape {_text(shape)}: there are zero classes')
    if not is_float(scores.dtype):
        hint = f'; class numbers {_HARD}' if kind == 'probabilities' else ''
        raise UserError(f'{where} have type {scores.dtype}: expected a float type{hint}')
    if shape[0] == 1:
        raise UserError(
            f'{where} have one channel, which a softmax turns into 1 everywhere: for a sigmoid stack both classes, '
            f'(1 - p, p); for a map of class numbers use DenseCRF.from_labels(labels, num_classes)'
        )
    tensor = _to_tensor(scores).detach()
    if tensor.dtype == torch.bfloat16:
        _say_bfloat16()
    tensor = tensor.float()
    low, high, finite, between = _scan(tensor)
    if not finite:
        raise UserError(f'{where} hold NaN or infinite numbers: look at the network that made them')
    if kind == 'probabilities' and (low < 0 or high > _LARGEST_PROBABILITY):
        wrong = 'negative numbers' if low < 0 else 'numbers above one'
        raise UserError(
            f'{where} hold {wrong} (range {low:g} to {high:g}), so they are no probabilities; '
            f"for logits use DenseCRF(input='logits')"
        )
    if kind == 'probabilities' and high == 0:
        raise UserError(f'{where} are all zero: there is nothing that a picture could refine; look at what made them')
    if between == 0 and low == 0 and high == 1 and (kind == 'probabilities' or bool((tensor.sum(0) == 1).all())):
        raise UserError(f'{where} hold only zeros and ones: they {_HARD}')
    return tensor


def to_unary(scores: Tensor, kind: str, clip: float) -> Tensor:
    """Unary energies (C, N) = -log of the probabilities clipped to [clip, 1]; N runs along the rows."""
    probabilities = scores.softmax(0) if kind == 'logits' else scores
    return probabilities.flatten(1).clamp(clip, 1).log_().neg_()


def to_array(values) -> np.ndarray:
    """`values` as numpy knows them; bfloat16, which it does not, as float32."""
    if not isinstance(values, Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    return (values.float() if values.is_floating_point() else values).numpy()


def like(probabilities: Tensor, original):
    """`probabilities` as the library, floating-point type and device of `original`."""
    if isinstance(original, Tensor):
        return probabilities.to(original.device, original.dtype)
    return probabilities.cpu().numpy().astype(original.dtype, copy=False)


def _scan(tensor: Tensor) -> tuple[float, float, bool, int]:
    """Smallest and largest number, whether all are finite, and how many are neither 0 nor 1."""
    if not tensor.is_cuda and tensor.is_contiguous() and native.is_available():
        return native.scan(tensor.numpy())
    low, high = (value.item() for value in torch.aminmax(tensor))  # hands on NaN
    # Only what lies in [0, 1] can be hard labels.
    between = 1 if (low, high) != (0, 1) else int(((tensor != 0) & (tensor != 1)).sum())
    return low, high, bool(np.isfinite(low) and np.isfinite(high)), between


@lru_cache(maxsize=1)  # once is enough
def _say_bfloat16() -> None:
    warnings.warn(
        'the scores are bfloat16, which keeps 8 bits: the dense CRF computes in float32, but probabilities close to '
        'each other have become equal already, and are handed back as bfloat16, too',
        stacklevel=5,
    )


def _to_tensor(array) -> Tensor:
    if isinstance(array, Tensor):
        return array
    array = np.asarray(array)
    if array.dtype.kind == 'f' and array.dtype not in (np.float16, np.float32, np.float64):
        array = array.astype(np.float64)
    # torch refuses negative strides, foreign byte order and read-only memory.
    if array.flags.writeable and array.flags.c_contiguous and array.dtype.isnative:
        return torch.from_numpy(array)
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder('='), ['C', 'W']))


def _text(shape) -> str:
    return 'none' if shape is None else str(tuple(shape))
