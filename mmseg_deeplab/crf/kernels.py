"""The pairwise kernels of the dense CRF: their parameters and what is checked about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from ..errors import UserError

# A lattice key is a 16-bit integer in the reference implementation, which corrupts memory where one overflows.
_LARGEST_KEY = 2**15 - 1

# A message is at most about the weight, and the unary -log(1e-5) = 11.5 at most: what is far above decides everything.
_LARGEST_WEIGHT = 1e4
_LARGEST_STD = 1e6

# A picture that was normalised (0 to 1, -1 to 1, by ImageNet's mean and deviation) spans less than this many standard
# deviations where those are meant for grey levels: hardly any two colours differ then.
_NORMALISED_SPAN = 2.0


@dataclass(frozen=True)
class Kernel:
    """One Gaussian pairwise kernel, exp(-0.5 |f_i - f_j|^2), and its label compatibility.

    Features are the position in pixels divided by `xy_std` (x, y) and, where `rgb_std` is not None, the values of the
    picture divided by `rgb_std` (one number for all bands, or one a band); or `features` (d, N), divided already.
    `compat` is a number, a (C,) or a (C, C) float32 array; see `DenseCRF` for its sign.
    """

    name: str
    compat: float | np.ndarray
    xy_std: float | tuple[float, float] = 1.0
    rgb_std: float | tuple[float, ...] | None = None
    features: np.ndarray | None = None

    @property
    def is_zero(self) -> bool:
        return not np.any(self.compat)

    @property
    def attracts(self) -> bool:
        """True where messages only ever add to a class's own probability, which is what leaving classes out needs."""
        if isinstance(self.compat, np.ndarray):
            return self.compat.ndim == 1 and not np.any(self.compat > 0)
        return self.compat >= 0

    def position_stds(self) -> tuple[float, float]:
        return self.xy_std if isinstance(self.xy_std, tuple) else (self.xy_std, self.xy_std)

    def band_stds(self, bands: int) -> tuple[float, ...]:
        if self.rgb_std is None:
            return ()
        return self.rgb_std if isinstance(self.rgb_std, tuple) else (self.rgb_std,) * bands

    def check_classes(self, num_classes: int) -> None:
        """Raises UserError where a vector or matrix is not made for this number of classes."""
        if isinstance(self.compat, np.ndarray) and len(self.compat) != num_classes:
            raise UserError(
                f'{self.name}_w has shape {self.compat.shape}, but there are {num_classes} classes: '
                f'give a number, a vector of {num_classes} or a {num_classes}x{num_classes} matrix'
            )

    def check_picture(self, height: int, width: int, lows: Sequence[float], highs: Sequence[float]) -> None:
        """Raises UserError where this kernel makes no sense on a picture of this size, whose bands span lows to highs.

        Too small standard deviations put lattice keys outside of 16 bits; those meant for grey levels are so large
        beside a normalised picture that it counts for nothing.
        """
        low, high = [0.0, 0.0], [float(width - 1), float(height - 1)]
        stds = list(self.position_stds())
        if self.rgb_std is not None:
            bands = len(lows)
            if isinstance(self.rgb_std, tuple) and len(self.rgb_std) != bands:
                raise UserError(
                    f'{self.name}_rgb_std has {len(self.rgb_std)} numbers, but the picture has {bands} '
                    f'band{"s" * (bands > 1)}: give one number, or one a band'
                )
            band_stds = self.band_stds(bands)
            spans = [(top - bottom) / std for bottom, top, std in zip(lows, highs, band_stds, strict=True)]
            looks_normalised = min(lows) < 0 or max(highs) <= 1
            if looks_normalised and 0 < max(spans) < _NORMALISED_SPAN:
                raise UserError(
                    f'{self.name}_rgb_std={_text(self.rgb_std)}: the values of the picture span {min(lows):g} to '
                    f'{max(highs):g}, so its colours are nearly the same to this kernel. Give the original uint8 '
                    f'picture (0 to 255), not a normalised one, or standard deviations in its own units'
                )
            low, high, stds = [*low, *lows], [*high, *highs], [*stds, *band_stds]
        key = _largest_key([v / std for v, std in zip(low, stds, strict=True)],
                           [v / std for v, std in zip(high, stds, strict=True)])  # fmt: skip
        if key > _LARGEST_KEY:
            knobs = f'{self.name}_xy_std={_text(self.xy_std)}'
            if self.rgb_std is not None:
                knobs += f', {self.name}_rgb_std={_text(self.rgb_std)}'
            raise UserError(
                f'{knobs} on a {width}x{height} image: lattice keys reach {key:.0f}, which does not fit into 16 bits '
                f'(at most {_LARGEST_KEY}); use standard deviations about {key / _LARGEST_KEY:.1f} times as large'
            )


def make_kernel(name: str, compat, xy_std, rgb_std=None) -> Kernel:
    """A checked kernel; raises UserError naming the parameter where one makes no sense."""
    xy = _checked_std(f'{name}_xy_std', xy_std, 2)
    rgb = None if rgb_std is None else _checked_std(f'{name}_rgb_std', rgb_std, None)
    return Kernel(name, _checked_compat(f'{name}_w', compat), (xy[0], xy[1]) if isinstance(xy, tuple) else xy, rgb)


def feature_kernel(name: str, compat, features) -> Kernel:
    """A checked kernel on features (d, N) of any float type."""
    array = np.asarray(features)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in 'fiu':
        raise UserError(f'features have shape {array.shape} and type {array.dtype}: expected (d, N) numbers')
    if len(array) > 32:
        raise UserError(f'features have {len(array)} dimensions: expected (d, N) with at most 32 of them, d first')
    array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        raise UserError('features hold NaN or infinite numbers')
    key = _largest_key(array.min(1).tolist(), array.max(1).tolist())
    if key > _LARGEST_KEY:
        raise UserError(
            f'features span {array.min():g} to {array.max():g}: lattice keys reach {key:.0f}, which does not fit into '
            f'16 bits; divide each feature by its standard deviation, and take away its mean'
        )
    return Kernel(name, _checked_compat(f'{name}_w', compat), features=array)


def _checked_std(name: str, value, number: int | None) -> float | tuple[float, ...]:
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(value) == 1:
        if number is not None and len(value) != number:
            raise UserError(f'{name}={value!r}: give one number, or {number} (x, y)')
        if not len(value):
            raise UserError(f'{name}={value!r}: give one number, or one a band')
        each = tuple(_positive(name, v.item() if isinstance(v, np.generic) else v) for v in value)
        return each[0] if len(set(each)) == 1 and number is not None else each
    return _positive(name, value)


def _positive(name: str, value) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value) or value <= 0:
        raise UserError(f'{name}={value!r}: a standard deviation is a positive number')
    if value > _LARGEST_STD:
        raise UserError(f'{name}={value!r} is beyond any picture: expected at most {_LARGEST_STD:g}')
    return float(value)


def _checked_compat(name: str, compat) -> float | np.ndarray:
    try:
        array = np.array(compat, dtype=np.float32)
    except (TypeError, ValueError):
        raise UserError(f'{name}={compat!r}: give a number, a vector or a square matrix of numbers') from None
    if not np.isfinite(array).all():
        raise UserError(f'{name} holds NaN or infinite numbers: {compat!r}')
    if array.size and abs(array).max() > _LARGEST_WEIGHT:
        raise UserError(
            f'{name}={compat!r}: beyond {_LARGEST_WEIGHT:g} the kernel alone decides; weights are about 1 to 10'
        )
    if array.ndim == 0:
        return float(array)
    if array.ndim == 1 or (array.ndim == 2 and array.shape[0] == array.shape[1]):
        return array
    raise UserError(f'{name} has shape {array.shape}: give a number, a (C,) vector or a (C, C) matrix')


def _largest_key(low: list[float], high: list[float]) -> float:
    """Largest |key| that the lattice can hold, blur neighbours included, for features between `low` and `high`."""
    axes = len(low) + 1
    scales = [math.sqrt(2 / 3) * axes / math.sqrt((i + 1) * (i + 2)) for i in range(axes - 1)]
    # The filled-up pixels of the reference lie at the origin.
    low = [min(0.0, value) * scale for value, scale in zip(low, scales, strict=True)]
    high = [max(0.0, value) * scale for value, scale in zip(high, scales, strict=True)]
    largest = 0.0
    for i in range(axes):  # coordinate i: the scaled features from i on, less i times the one before
        before = (i * low[i - 1], i * high[i - 1]) if i else (0.0, 0.0)
        largest = max(largest, sum(high[i:]) - before[0], before[1] - sum(low[i:]))
    # The nearest lattice point is less than `axes` away, a vertex of its simplex and a blur neighbour as far again.
    return largest + 3 * axes


def _text(std) -> str:
    return f'{std:g}' if isinstance(std, float) else str(std)
