"""The two pairwise kernels of the dense CRF: their parameters and what is checked about them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np

from ..errors import UserError

# A lattice key is a 16-bit integer in the reference implementation, which corrupts memory where one overflows.
_LARGEST_KEY = 2**15 - 1


@dataclass(frozen=True)
class Kernel:
    """One Gaussian pairwise kernel, exp(-0.5 |f_i - f_j|^2), and its label compatibility.

    Features are the position in pixels divided by `xy_std` and, where `rgb_std` is not None, the colour (0 to 255)
    divided by `rgb_std`. `compat` is a number, a (C,) or a (C, C) float32 array; see `DenseCRF` for its sign.
    """

    name: str
    compat: float | np.ndarray
    xy_std: float
    rgb_std: float | None = None

    @property
    def is_zero(self) -> bool:
        return not np.any(self.compat)

    def check_classes(self, num_classes: int) -> None:
        """Raises ValueError where a vector or matrix is not made for this number of classes."""
        if isinstance(self.compat, np.ndarray) and len(self.compat) != num_classes:
            raise UserError(
                f'{self.name}_w has shape {self.compat.shape}, but there are {num_classes} classes: '
                f'give a number, a vector of {num_classes} or a {num_classes}x{num_classes} matrix'
            )

    def check_keys(self, height: int, width: int) -> None:
        """Raises ValueError where the standard deviations put lattice keys outside 16 bits on an image of this size."""
        largest = [(width - 1) / self.xy_std, (height - 1) / self.xy_std]
        if self.rgb_std is not None:
            largest += [255 / self.rgb_std] * 3
        key = _largest_key(largest)
        if key > _LARGEST_KEY:
            knobs = f'{self.name}_xy_std={self.xy_std:g}'
            if self.rgb_std is not None:
                knobs += f', {self.name}_rgb_std={self.rgb_std:g}'
            raise UserError(
                f'{knobs} on a {width}x{height} image: lattice keys reach {key:.0f}, which does not fit into 16 bits '
                f'(at most {_LARGEST_KEY}); use standard deviations about {key / _LARGEST_KEY:.1f} times as large'
            )


def make_kernel(name: str, compat, xy_std, rgb_std=None) -> Kernel:
    """A checked kernel; raises ValueError naming the parameter where one makes no sense."""
    xy_std = _positive(f'{name}_xy_std', xy_std)
    if rgb_std is not None:
        rgb_std = _positive(f'{name}_rgb_std', rgb_std)
    return Kernel(name, _checked_compat(f'{name}_w', compat), xy_std, rgb_std)


def _positive(name: str, value) -> float:
    if not isinstance(value, Real) or not math.isfinite(value) or value <= 0:
        raise UserError(f'{name}={value!r}: a standard deviation is a positive number')
    return float(value)


def _checked_compat(name: str, compat) -> float | np.ndarray:
    try:
        array = np.array(compat, dtype=np.float32)
    except (TypeError, ValueError):
        raise UserError(f'{name}={compat!r}: give a number, a vector or a square matrix of numbers') from None
    if not np.isfinite(array).all():
        raise UserError(f'{name} holds NaN or infinite numbers: {compat!r}')
    if array.ndim == 0:
        return float(array)
    if array.ndim == 1 or (array.ndim == 2 and array.shape[0] == array.shape[1]):
        return array
    raise UserError(f'{name} has shape {array.shape}: give a number, a (C,) vector or a (C, C) matrix')


def _largest_key(largest_feature: list[float]) -> float:
    """Largest |key| that the lattice can hold, blur neighbours included, for features in [0, largest_feature]."""
    axes = len(largest_feature) + 1
    scaled = [
        feature * math.sqrt(2 / 3) * axes / math.sqrt((i + 1) * (i + 2)) for i, feature in enumerate(largest_feature)
    ]
    above = max(sum(scaled[j:]) for j in range(axes - 1))
    below = max((j + 1) * value for j, value in enumerate(scaled))
    # The nearest lattice point is less than `axes` away, a vertex of its simplex and a blur neighbour as far again.
    return max(above, below) + 3 * axes
