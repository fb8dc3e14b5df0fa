"""Mean-field inference in torch: the update, the normalisations, and the backend that filters on the lattice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from . import lattice, pruning
from .kernels import Kernel

# Memory of more than 32 MiB goes back to the system when it is freed (glibc), and each page of the next block costs a
# fault, which takes longer than the filtering: so filter as many columns at once as stay below it.
_LARGEST_BLOCK = 2**23 - 2**12  # floats
_SMALLEST_WIDTH = 8  # columns

_LARGEST_BATCH = 4 * 2**30
"""Bytes that the images of one batch may take on a GPU together, as estimated by `batches`."""


_Scalable = TypeVar('_Scalable', bound='Scalable')


class Filter(Protocol):
    """A symmetric kernel matrix K of N pixels: `filter(values)` is K values for float32 values (N, C)."""

    @property
    def points(self) -> int:
        """Number of rows of the largest intermediate result."""

    def __call__(self, values: Tensor) -> Tensor: ...


class Scalable(Filter, Protocol):
    """A filter without factors yet."""

    def scaled(self: _Scalable, before: Tensor, after: Tensor) -> _Scalable:
        """diag(after) K diag(before)."""


@dataclass(frozen=True)
class Pairwise:
    """A normalised filter and what its result means for the labels.

    Attributes:
        compat: (rows, compatibility) for each image of the batch, with the sign of `DenseCRF`: a number, also as a
            tensor, a (C,) or a symmetric (C, C) tensor.
    """

    filter: Filter
    compat: Sequence[tuple[slice, float | Tensor]]

    def add_messages(self, x: Tensor, q: Tensor) -> None:
        """x -= compat K q, both (N, C)."""
        for block in _blocks(self.filter, q):
            message = self.filter(q[:, block])
            for rows, compat in self.compat:
                if not isinstance(compat, Tensor):
                    x[rows, block].add_(message[rows], alpha=compat)
                elif compat.ndim == 0:
                    x[rows, block].addcmul_(message[rows], compat)
                elif compat.ndim == 1:
                    known = compat[block]  # classes beyond those of this image have no message
                    x[rows, block.start : block.start + len(known)].addcmul_(
                        message[rows, : len(known)], known, value=-1
                    )
                else:
                    known = compat[block]
                    x[rows, : len(compat)].addmm_(message[rows, : len(known)], known, alpha=-1)


def filtered(kernel: Filter, values: Tensor) -> Tensor:
    """K values, for values (N, C), a block of columns at a time."""
    parts = [kernel(values[:, block]) for block in _blocks(kernel, values)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _blocks(kernel: Filter, values: Tensor) -> list[slice]:
    """The columns of values (N, C) in parts of about the same width."""
    columns = values.shape[1]
    width = columns if values.is_cuda else max(_SMALLEST_WIDTH, _LARGEST_BLOCK // kernel.points)
    width = -(-columns // -(-columns // width))
    return [slice(start, start + width) for start in range(0, columns, width)]


def keep_blocks() -> None:
    """Has glibc keep freed blocks of up to 32 MiB: only up to the size of the largest one that it has seen freed."""
    torch.empty(_LARGEST_BLOCK)


def iterate(unary: Tensor, pairwise: Sequence[Pairwise], iterations: int, q: Tensor | None = None) -> Iterator[Tensor]:
    """Yields Q (N, C) after 0 to `iterations` updates Q <- softmax(-unary - sum of compat K Q), all pixels at once.

    With a state `q` to go on from, after 1 to `iterations` further ones. What is yielded is overwritten by the next
    step, and so is `q`.
    """
    x = unary.neg()
    if q is None:
        q = torch.empty_like(x)
        softmax(x, q)
        yield q
    for _ in range(iterations):
        torch.neg(unary, out=x)
        for kernel in pairwise:
            kernel.add_messages(x, q)
        softmax(x, q)
        yield q


def normalized(kernel: _Scalable, normalization: str, ones: Tensor) -> _Scalable:
    """`kernel` normalised by its row sums as `DenseCRF` says; `ones` is (N,)."""
    if normalization == 'no':
        return kernel
    row_sums = kernel(ones[:, None])[:, 0] + 1e-20
    if normalization == 'symmetric':
        root = row_sums.rsqrt()
        return kernel.scaled(root, root)
    inverse = row_sums.reciprocal()
    return kernel.scaled(inverse, ones) if normalization == 'before' else kernel.scaled(ones, inverse)


def batches(pixels: Sequence[int], classes: int, on_gpu: bool) -> list[slice]:
    """Which images to filter together: on a GPU as many as fit, on a CPU, faster with less in its cache, one each."""
    # Lattice keys, their order and the sort's own memory for 6 + 3 vertices; and rows of floats: three for each pixel,
    # and two for each lattice point, of which there are usually less than two a pixel.
    each = [n * (9 * 60 + 7 * 4 * classes) for n in pixels]
    parts, start, total = [], 0, 0
    for image, size in enumerate(each):
        if image > start and (not on_gpu or total + size > _LARGEST_BATCH):
            parts.append(slice(start, image))
            start, total = image, 0
        total += size
    return [*parts, slice(start, len(each))] if each else []


def mean_field(
    images: Sequence[Tensor | None],
    unaries: Sequence[Tensor],
    kernels: Sequence[Sequence[Kernel]],
    iterations: int,
    normalization: str,
    adaptive: float | None = None,
) -> Iterator[list[Tensor]]:
    """Yields the distributions, one (C, N) for each image, after 0 to `iterations` mean-field updates.

    Args:
        images: (H, W, bands) each, on one device; None for kernels that bring their own features.
        unaries: float32 (C, N = H W) each, on the same device; the number of classes may differ.
        kernels: those of each image, the same but for their compatibilities.
        adaptive: a probability, such as 1e-3: classes that stay below it together on every pixel are dropped (see
            `pruning.Pruned`), at the start and once more after the first update, in which most of them lose.
            Where compatibilities have no bound for this, every class is kept.
    What is yielded is overwritten by the next step.
    """
    if not images:
        yield from ([] for _ in range(iterations + 1))
        return
    keep_blocks()
    ends = torch.tensor([unary.shape[1] for unary in unaries]).cumsum(0).tolist()
    rows = [slice(end - unary.shape[1], end) for end, unary in zip(ends, unaries, strict=True)]
    filters = [_filter(images, unaries[0].device, same[0], normalization) for same in zip(*kernels, strict=True)]
    if adaptive is not None and not all(kernel.attracts for own in kernels for kernel in own):
        adaptive = None
    now = _Batch([pruning.Pruned(*each, adaptive) for each in zip(unaries, kernels, strict=True)], rows, filters)
    updates = iterations if adaptive is None else min(1, iterations)
    for q in iterate(now.unary, now.pairwise, updates):
        states = now.split(q)
        yield [problem.restore(state) for problem, state in zip(now.problems, states, strict=True)]
    if updates == iterations:
        return
    again = [
        pruning.Pruned(problem.unary, problem.kernels, adaptive, state)
        for problem, state in zip(now.problems, states, strict=True)
    ]
    then = _Batch(again, rows, filters)
    start = then.join([problem.merge(state) for problem, state in zip(again, states, strict=True)], 0)
    for q in iterate(then.unary, then.pairwise, iterations - updates, start):
        yield [
            first.restore(second.restore(state))
            for first, second, state in zip(now.problems, again, then.split(q), strict=True)
        ]


class _Batch:
    """The problems of several images as one: rows are pixels, columns classes, of which some images have fewer."""

    def __init__(self, problems: Sequence[pruning.Pruned], rows: Sequence[slice], filters: Sequence[Filter]):
        self.problems = problems
        self._rows = rows
        self.unary = self.join([problem.unary for problem in problems], torch.inf)
        same_kernels = zip(*(problem.kernels for problem in problems), strict=True)
        self.pairwise = []
        for kernel, same in zip(filters, same_kernels, strict=True):
            compat = [_on_device(own.compat, self.unary.device) for own in same]
            self.pairwise.append(Pairwise(kernel, list(zip(rows, compat, strict=True))))

    def join(self, parts: Sequence[Tensor], fill: float) -> Tensor:
        """One tensor of the (C, N) of each image, with `fill` where an image has fewer classes."""
        joined = parts[0].new_full((self._rows[-1].stop, max(map(len, parts))), fill)
        for values, part in zip(parts, self._rows, strict=True):
            joined[part, : len(values)] = values.t()
        return joined

    def split(self, q: Tensor) -> list[Tensor]:
        """The (C, N) of each image, as views of q."""
        return [q[part, : len(problem.unary)].t() for problem, part in zip(self.problems, self._rows, strict=True)]


def softmax(x: Tensor, out: Tensor) -> None:
    """Softmax over the classes of x (N, C) into `out`; overwrites x."""
    if x.shape[1] >= 16 or x.is_cuda:
        torch.softmax(x, 1, out=out)
        return
    # torch's own leaves rows shorter than a vector register to scalar code, 6 times as slow.
    x.sub_(x.amax(1, keepdim=True))
    torch.exp(x, out=out)
    out.div_(out @ out.new_ones(out.shape[1], 1))


def _filter(
    images: Sequence[Tensor | None], device: torch.device, kernel: Kernel, normalization: str
) -> lattice.Lattice:
    if kernel.features is None:
        return batch_filter([image for image in images if image is not None], kernel, normalization)
    own = _built([torch.from_numpy(kernel.features).to(device)], normalization)
    return lattice.concatenate([own] * len(images))


def batch_filter(images: Sequence[Tensor], kernel: Kernel, normalization: str) -> lattice.Lattice:
    """The normalised filter of the pixels of several images (H, W, bands), on one device."""
    if kernel.rgb_std is None:
        sizes = [(*image.shape[:2], kernel.xy_std, normalization, image.device) for image in images]
        return lattice.concatenate([_gaussian(*size) for size in sizes])
    features = []
    for image in images:
        colours = image.flatten(0, 1).t().float() / _divisor(kernel.rgb_std, image.device)
        features.append(torch.cat([_positions(*image.shape[:2], kernel.xy_std, image.device), colours]))
    return _built(features, normalization)


@lru_cache(maxsize=8)  # about 25 MB each for 500 x 375 pixels and a standard deviation of one
def _gaussian(
    height: int, width: int, std: float | tuple[float, float], normalization: str, device: torch.device
) -> lattice.Lattice:
    return _built([_positions(height, width, std, device)], normalization)


def _built(features: Sequence[Tensor], normalization: str) -> lattice.Lattice:
    kernel = lattice.build(*features)
    return normalized(kernel, normalization, features[0].new_ones(len(kernel.slice.offsets) - 1))


def _positions(height: int, width: int, std: float | Sequence[float], device: torch.device) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing='ij')
    return torch.stack([x.flatten(), y.flatten()]).float() / _divisor(std, device)


def _divisor(std: float | Sequence[float], device: torch.device) -> Tensor:
    """One number, or a column of one for each row of the features."""
    # On a GPU, torch divides by a Python number as a product with its reciprocal, which is off by a last bit.
    divisor = torch.tensor(std, dtype=torch.float32, device=device)
    return divisor[:, None] if divisor.ndim else divisor


def _on_device(compat, device: torch.device) -> float | Tensor:
    if isinstance(compat, float):
        return compat
    compat = torch.from_numpy(compat).to(device)
    return compat if compat.ndim == 1 else (compat + compat.t()) / 2
