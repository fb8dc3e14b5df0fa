"""Mean-field inference in torch: the update, the normalisations, and the backend that filters on the lattice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from . import lattice
from .kernels import Kernel

# Memory of more than 32 MiB goes back to the system when it is freed (glibc), and each page of the next block costs a
# fault, which takes longer than the filtering: so filter as many columns at once as stay below it.
_LARGEST_BLOCK = 2**23 - 2**12  # floats
_SMALLEST_WIDTH = 8  # columns


class Filter(Protocol):
    """A symmetric kernel matrix K of N pixels: `filter(values)` is K values for float32 values (N, C)."""

    @property
    def points(self) -> int:
        """Number of rows of the largest intermediate result."""

    def __call__(self, values: Tensor) -> Tensor: ...

    def scaled(self, before: Tensor, after: Tensor) -> Filter:
        """diag(after) K diag(before)."""


@dataclass(frozen=True)
class Pairwise:
    """A normalised filter and what its result means for the labels.

    Attributes:
        compat: (rows, compatibility) for each image of the batch, with the sign of `DenseCRF`: a number, a (C,) or
            a symmetric (C, C) tensor.
    """

    filter: Filter
    compat: Sequence[tuple[slice, float | Tensor]]

    def add_messages(self, x: Tensor, q: Tensor) -> None:
        """x -= compat K q, both (N, C)."""
        classes = q.shape[1]
        width = classes if q.is_cuda else max(_SMALLEST_WIDTH, _LARGEST_BLOCK // self.filter.points)
        blocks = -(-classes // width)
        width = -(-classes // blocks)
        for start in range(0, classes, width):
            block = slice(start, start + width)
            message = self.filter(q[:, block])
            for rows, compat in self.compat:
                if isinstance(compat, float):
                    x[rows, block].add_(message[rows], alpha=compat)
                elif compat.ndim == 1:
                    known = compat[block]  # classes beyond those of this image have no message
                    x[rows, start : start + len(known)].addcmul_(message[rows, : len(known)], known, value=-1)
                else:
                    known = compat[block]
                    x[rows, : len(compat)].addmm_(message[rows, : len(known)], known, alpha=-1)


def iterate(unary: Tensor, pairwise: Sequence[Pairwise], iterations: int) -> Iterator[Tensor]:
    """Yields Q (N, C) after 0 to `iterations` updates Q <- softmax(-unary - sum of compat K Q), all pixels at once.

    The yielded tensor is overwritten by the next step.
    """
    x = unary.neg()
    q = torch.empty_like(x)
    _softmax(x, q)
    yield q
    for _ in range(iterations):
        torch.neg(unary, out=x)
        for kernel in pairwise:
            kernel.add_messages(x, q)
        _softmax(x, q)
        yield q


def normalized(kernel: Filter, normalization: str, ones: Tensor) -> Filter:
    """`kernel` normalised by its row sums as `DenseCRF` says; `ones` is (N,)."""
    if normalization == 'no':
        return kernel
    row_sums = kernel(ones[:, None])[:, 0] + 1e-20
    if normalization == 'symmetric':
        root = row_sums.rsqrt()
        return kernel.scaled(root, root)
    inverse = row_sums.reciprocal()
    return kernel.scaled(inverse, ones) if normalization == 'before' else kernel.scaled(ones, inverse)


def mean_field(
    images: Sequence[Tensor],
    unaries: Sequence[Tensor],
    kernels: Sequence[Sequence[Kernel]],
    iterations: int,
    normalization: str,
) -> Iterator[list[Tensor]]:
    """Yields the distributions, one (C, N) for each image, after 0 to `iterations` mean-field updates.

    Args:
        images: uint8 (H, W, 3) each, on one device. unaries: float32 (C, N = H W) each, on the same device; the
            number of classes may differ. kernels: those of each image, the same but for their compatibilities.
    What is yielded is overwritten by the next step.
    """
    if not images:
        yield from ([] for _ in range(iterations + 1))
        return
    # glibc keeps smaller blocks, too, only up to twice the size of the largest one that it has seen freed.
    torch.empty(_LARGEST_BLOCK)
    ends = torch.tensor([unary.shape[1] for unary in unaries]).cumsum(0).tolist()
    rows = [slice(end - unary.shape[1], end) for end, unary in zip(ends, unaries, strict=True)]
    batch = unaries[0].new_full((ends[-1], max(map(len, unaries))), torch.inf)
    for unary, part in zip(unaries, rows, strict=True):
        batch[part, : len(unary)] = unary.t()
    pairwise = []
    for same in zip(*kernels, strict=True):
        lattices = [_lattice(image, kernel, normalization) for image, kernel in zip(images, same, strict=True)]
        compat = [_on_device(kernel.compat, batch.device) for kernel in same]
        pairwise.append(Pairwise(lattice.concatenate(lattices), list(zip(rows, compat, strict=True))))
    for q in iterate(batch, pairwise, iterations):
        yield [q[part, : len(unary)].t() for unary, part in zip(unaries, rows, strict=True)]


def _softmax(x: Tensor, out: Tensor) -> None:
    """Softmax over the classes of x (N, C) into `out`; overwrites x."""
    if x.shape[1] >= 16 or x.is_cuda:
        torch.softmax(x, 1, out=out)
        return
    # torch's own leaves rows shorter than a vector register to scalar code, 6 times as slow.
    x.sub_(x.amax(1, keepdim=True))
    torch.exp(x, out=out)
    out.div_(out @ out.new_ones(out.shape[1], 1))


def _lattice(image: Tensor, kernel: Kernel, normalization: str) -> lattice.Lattice:
    height, width, _ = image.shape
    if kernel.rgb_std is None:
        return _gaussian(height, width, kernel.xy_std, normalization, image.device)
    colours = image.flatten(0, 1).t().float() / _divisor(kernel.rgb_std, image.device)
    positions = _positions(height, width, kernel.xy_std, image.device)
    return _built(torch.cat([positions, colours]), normalization)


@lru_cache(maxsize=8)  # about 25 MB each for 500 x 375 pixels and a standard deviation of one
def _gaussian(height: int, width: int, std: float, normalization: str, device: torch.device) -> lattice.Lattice:
    return _built(_positions(height, width, std, device), normalization)


def _built(features: Tensor, normalization: str) -> lattice.Lattice:
    return normalized(lattice.build(features), normalization, features.new_ones(features.shape[1]))


def _positions(height: int, width: int, std: float, device: torch.device) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing='ij')
    return torch.stack([x.flatten(), y.flatten()]).float() / _divisor(std, device)


def _divisor(std: float, device: torch.device) -> Tensor:
    # On a GPU, torch divides by a Python number as a product with its reciprocal, which is off by a last bit.
    return torch.tensor(std, dtype=torch.float32, device=device)


def _on_device(compat, device: torch.device) -> float | Tensor:
    if isinstance(compat, float):
        return compat
    compat = torch.from_numpy(compat).to(device)
    return compat if compat.ndim == 1 else (compat + compat.t()) / 2
