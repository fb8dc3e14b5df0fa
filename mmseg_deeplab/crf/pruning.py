"""Class pruning: classes that are unlikely on every pixel share one pseudo-class that sends and gets no messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .kernels import Kernel


class Pruned:
    """The mean-field problem without the classes that are unlikely together on every pixel.

    Classes are dropped, the one with the lowest peak first, as long as the sum of their probabilities stays at or below
    `threshold` on every pixel. It is the sum that bounds what is neglected: of 150 classes a hundred that stay below
    0.01 each may reach 0.07 together.

    Args:
        unary: (C, N) energies.
        kernels: all of them attract (`Kernel.attracts`). A class whose compatibility is zero in all of them, such as an
            earlier pseudo-class, costs nothing to drop.
        threshold: None keeps every class.
        q: (C, N) probabilities to go by. By default those of `unary`, less what every class has everywhere (the clip)
            up to a hundredth of the threshold.

    Attributes:
        unary: (K + 1, N) energies of the K kept classes and, last, of the union of the others.
        kernels: the kernels with compatibility zero for that last row.
    """

    def __init__(self, unary: Tensor, kernels: Sequence[Kernel], threshold: float | None, q: Tensor | None = None):
        self.unary, self.kernels = unary, list(kernels)
        self._dropped: tuple[Tensor, Tensor] | None = None  # which classes are kept, and the others' shares
        if threshold is None or not kernels:
            return
        if q is None:
            q = unary.neg().exp_()
            q -= q.min().clamp(max=threshold / 100)
        costs = np.stack([_costs(kernel.compat, len(unary)) for kernel in kernels])
        keep = ~_unlikely(q, threshold, (costs == 0).all(0))
        if keep.sum() < len(unary) - 1:  # else there is nothing to merge
            kept = torch.from_numpy(keep).to(unary.device)
            rest = unary[~kept]
            together = -torch.logsumexp(-rest, 0, keepdim=True)
            # The share of each class in the pseudo-class; no message ever changes it.
            self._dropped = kept, (together - rest).exp_()
            self.unary = torch.cat([unary[kept], together])
            self.kernels = [
                replace(kernel, compat=np.append(row[keep], 0).astype(np.float32))
                for kernel, row in zip(kernels, costs, strict=True)
            ]

    def merge(self, q: Tensor) -> Tensor:
        """Probabilities of the kept classes and the pseudo-class (K + 1, N) from those of all classes (C, N)."""
        if self._dropped is None:
            return q
        kept, _ = self._dropped
        return torch.cat([q[kept], q[~kept].sum(0, keepdim=True)])

    def restore(self, q: Tensor) -> Tensor:
        """Probabilities of all classes (C, N) from those of the kept classes and the pseudo-class (K + 1, N)."""
        if self._dropped is None:
            return q
        kept, share = self._dropped
        full = q.new_empty(len(kept), q.shape[1])
        full[kept] = q[:-1]
        full[~kept] = q[-1] * share
        return full


def _costs(compat: float | np.ndarray, classes: int) -> np.ndarray:
    return np.broadcast_to(-compat if isinstance(compat, float) else compat, classes)


def _unlikely(q: Tensor, threshold: float, silent: np.ndarray) -> np.ndarray:
    """Which classes (C,) to drop; those that are `silent` are dropped and do not count."""
    peaks = q.amax(1).cpu().numpy()
    drop = np.broadcast_to(silent, peaks.shape).copy()
    candidates = [c for c in np.argsort(peaks, kind='stable') if peaks[c] <= threshold and not drop[c]]
    if candidates:
        total, sums = torch.zeros_like(q[0]), []
        for c in candidates:
            total += q[c]
            sums.append(total.amax())
        fit = int((torch.stack(sums) <= threshold).sum())  # the sums grow
        drop[candidates[:fit]] = True
    return drop
