"""Class pruning: classes that are unlikely on every pixel share one pseudo-class that sends and gets no messages."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .kernels import Kernel


class Pruned:
    """The mean-field problem without the classes whose probability stays at or below `threshold` on every pixel.

    Args:
        unary: (C, N) energies. Class c is kept where exp(-unary[c]) exceeds `threshold` on any pixel.
        threshold: None keeps every class.
        kernels: their compatibilities are numbers >= 0 or vectors <= 0 (see `check`).

    Attributes:
        unary: (K + 1, N) energies of the K kept classes and, last, of the union of the others.
        kernels: the kernels with compatibility zero for that last row.
    """

    def __init__(self, unary: Tensor, kernels: list[Kernel], threshold: float | None):
        self.unary, self.kernels, self._share = unary, kernels, None
        if threshold is None:
            return
        keep = self._keep = unary.amin(1) < -np.log(threshold)
        if keep.sum() < len(unary) - 1:  # else there is nothing to merge
            rest = unary[~keep]
            together = -torch.logsumexp(-rest, 0, keepdim=True)
            self._share = (together - rest).exp_()  # of each class in the pseudo-class; no message ever changes it
            self.unary = torch.cat([unary[keep], together])
            self.kernels = [replace(kernel, compat=self._compat(kernel.compat)) for kernel in kernels]

    def _compat(self, compat: float | np.ndarray) -> np.ndarray:
        keep = self._keep.cpu().numpy()
        vector = np.broadcast_to(-compat if isinstance(compat, float) else compat, keep.shape)[keep]
        return np.append(vector, 0).astype(np.float32)

    def restore(self, q: Tensor) -> Tensor:
        """Probabilities of all classes (C, N) from those of the kept classes and the pseudo-class (K + 1, N)."""
        if self._share is None:
            return q
        full = q.new_empty(len(self._keep), q.shape[1])
        full[self._keep] = q[:-1]
        full[~self._keep] = q[-1] * self._share
        return full


def check(threshold: float, kernels: list[Kernel]) -> None:
    """Raises ValueError where pruning has no bound: outside (0, 1), or with classes that repel themselves."""
    if not isinstance(threshold, Real) or not 0 < threshold < 1:
        raise UserError(f'prune={threshold!r}: expected None or a probability between 0 and 1, such as 0.01')
    for kernel in kernels:
        compat = kernel.compat
        if compat < 0 if isinstance(compat, float) else compat.ndim == 2 or (compat > 0).any():
            raise UserError(
                f'prune={threshold} needs {kernel.name}_w to be a number >= 0 or a vector of numbers <= 0; '
                f'got {compat!r}. Use prune=None'
            )
