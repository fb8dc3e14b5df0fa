"""Gaussian filtering of N feature vectors on the permutohedral lattice, in torch, on the CPU or a GPU.

Source: Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010.
The lattice is that of the reference implementation, point by point: it holds only the points that a pixel touches, so
which points exist changes the result, and they depend on the last bit of the coordinates. Hence float32 arithmetic in
a fixed order of operations, each operation rounded on its own.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError

_LONGEST_ROW = 64
"""Entries of a row that a GPU adds up one after the other; flat pictures have points with thousands of pixels."""

TOO_MANY_CELLS = (
    'the standard deviations are too small for these features: beyond 4 million cells along an axis, single precision '
    'tells no positions in them apart. Take larger ones'
)
_MOST_CELLS = 4 * 10**6


@dataclass(frozen=True)
class SparseMatrix:
    """Row r has `weights[k]` in column `columns[k]` for `offsets[r]` <= k < `offsets[r + 1]`."""

    offsets: Tensor
    columns: Tensor
    weights: Tensor

    def __matmul__(self, values: Tensor) -> Tensor:
        product = _triton_product() if values.is_cuda else None
        if product is not None:
            return product(self.offsets, self.columns, self.weights, values)
        # On the CPU 2 to 5 times as fast as torch's product with a CSR matrix; on a GPU without atomics, so
        # deterministic.
        return torch.embedding_bag(
            values, self.columns, self.offsets, mode=0, per_sample_weights=self.weights, include_last_offset=True
        )[0]

    def to(self, dtype: torch.dtype) -> SparseMatrix:
        return replace(self, weights=self.weights.to(dtype))


@dataclass(frozen=True)
class Lattice:
    """The filter K of N pixels over M lattice points: `lattice(values)` is K values, for values (N, C).

    Attributes:
        splat: (M, N) barycentric weights, in one or two steps, the first of which has them. blurs: for each of the
            d + 1 axes (M, M), a point and half its two neighbours; each is symmetric. slice: (N, M), the transposed
            weights times 1 / (1 + 2^-d).
        before, after: (N,) factors of the pixels that are part of splat and of slice, if there are any.
    """

    splat: tuple[SparseMatrix, ...]
    blurs: tuple[SparseMatrix, ...]
    slice: SparseMatrix
    before: Tensor | None = None
    after: Tensor | None = None

    @property
    def points(self) -> int:
        return len(self.splat[-1].offsets) - 1

    def __call__(self, values: Tensor) -> Tensor:
        for matrix in (*self.splat, *self.blurs, self.slice):
            values = matrix @ values
        return values

    def scaled(self, before: Tensor, after: Tensor) -> Lattice:
        """diag(after) K diag(before) for positive vectors (N,), of a K without factors yet."""
        return replace(self._with_factors(before, after), before=before, after=after)

    def transposed(self) -> Lattice:
        """K^T. As points are missing, the blurs do not commute: it takes them in the opposite order."""
        swapped = replace(self, blurs=self.blurs[::-1], before=self.after, after=self.before)
        if self.before is None or self.after is None or self.before is self.after:
            return swapped
        return swapped._with_factors(self.after / self.before, self.before / self.after)

    def to(self, dtype: torch.dtype) -> Lattice:
        """The same weights as another type of float."""
        splat, blurs = (tuple(matrix.to(dtype) for matrix in part) for part in (self.splat, self.blurs))
        before = None if self.before is None else self.before.to(dtype)
        after = before if self.after is self.before or self.after is None else self.after.to(dtype)
        return Lattice(splat, blurs, self.slice.to(dtype), before, after)

    def _with_factors(self, before: Tensor, after: Tensor) -> Lattice:
        first, *second = self.splat
        splat = (replace(first, weights=first.weights * before[first.columns]), *second)
        weights = self.slice.weights.view(-1, len(self.blurs)) * after[:, None]
        return replace(self, splat=splat, slice=replace(self.slice, weights=weights.flatten()))


def build(*features: Tensor) -> Lattice:
    """One lattice of the float32 features (d, N) of one or several images, which do not see each other.

    Features are already divided by their standard deviations; the pixels of all images follow each other. All images
    are built at once: one sort, one search for each axis, and d + 3 to 5 waits for a GPU in all.

    Points are in the order of their keys. In the order in which pixels touch them, slicing was up to twice as fast on
    the CPU but the blurs, 60 to 80 % of the time, were 8 to 50 % slower, and the whole filter 8 to 37 %.

    Raises:
        UserError: the features span more lattice cells than single precision can tell positions in.
    """
    d = len(features[0])
    axes, pixels = d + 1, sum(f.shape[1] for f in features)
    # The reference works on four pixels at a time and fills up the last four with the origin of the feature space. The
    # points around it then exist and pass values on, although no pixel ever adds to them.
    filled = [image for image, f in enumerate(features) if f.shape[1] % 4]
    joined = torch.cat([*features, features[0].new_zeros(d, len(filled))], 1)
    ends = np.cumsum([f.shape[1] for f in features])
    of_fill = torch.tensor([int(ends[image]) - 1 for image in filled], dtype=torch.int64, device=joined.device)
    pixel = torch.cat([torch.arange(pixels, device=joined.device), of_fill])
    cells, rank, weights = _enclosing_simplex(joined)
    owners = [*((image, f.shape[1]) for image, f in enumerate(features)), *((image, 1) for image in filled)]
    keys, steps, unit = _vertex_keys(cells, rank, owners)
    weights[:, pixels:] = 0
    found, order = keys.flatten().sort(stable=True)
    is_new = torch.ones_like(found, dtype=torch.bool)
    torch.ne(found[1:], found[:-1], out=is_new[1:])
    index_type = torch.int32 if len(found) < 2**31 else torch.int64
    starts = is_new.nonzero()[:, 0]
    points = torch.empty(len(found), dtype=index_type, device=found.device)
    points[order] = is_new.cumsum(0, dtype=index_type) - 1
    splat = SparseMatrix(
        torch.cat([starts, starts.new_tensor([len(found)])]).to(index_type),
        pixel[order % len(pixel)].to(index_type),
        weights.flatten()[order],
    )
    slice_ = SparseMatrix(
        torch.arange(0, pixels * axes + 1, axes, dtype=index_type, device=found.device),
        points.view(axes, -1)[:, :pixels].t().flatten(),
        weights[:, :pixels].t().flatten() / (1 + 2.0**-d),
    )
    keys = found[starts]
    steps_of_splat = _in_steps(splat, _LONGEST_ROW) if joined.is_cuda else (splat,)
    return Lattice(steps_of_splat, tuple(_blur(keys, unit, *step, index_type) for step in steps), slice_)


def concatenate(lattices: Sequence[Lattice]) -> Lattice:
    """One lattice for the pixels of all `lattices` (of the same number of axes), which do not see each other."""
    if len(lattices) == 1:
        return lattices[0]
    pixels = [len(lattice.slice.offsets) - 1 for lattice in lattices]
    points = [lattice.points for lattice in lattices]
    blurs = zip(*(lattice.blurs for lattice in lattices), strict=True)
    if len({len(lattice.splat) for lattice in lattices}) > 1:
        lattices = [replace(lattice, splat=_in_two(lattice.splat)) for lattice in lattices]
    splat, widths = [], pixels
    for step in zip(*(lattice.splat for lattice in lattices), strict=True):
        splat.append(_block_diagonal(step, widths))
        widths = [len(matrix.offsets) - 1 for matrix in step]
    return Lattice(
        tuple(splat),
        tuple(_block_diagonal(blur, points) for blur in blurs),
        _block_diagonal([lattice.slice for lattice in lattices], points),
        *_joined_factors(lattices),
    )


def _in_two(splat: tuple[SparseMatrix, ...]) -> tuple[SparseMatrix, ...]:
    """The same in two steps, the second of which may do nothing."""
    if len(splat) == 2:
        return splat
    rows = torch.arange(len(splat[0].offsets), dtype=splat[0].offsets.dtype, device=splat[0].offsets.device)
    return splat[0], SparseMatrix(rows, rows[:-1], torch.ones_like(rows[:-1], dtype=splat[0].weights.dtype))


def _in_steps(matrix: SparseMatrix, longest: int) -> tuple[SparseMatrix, ...]:
    """A matrix with an entry in each row as the product of two, first to last, where a row has over `longest`."""
    counts = matrix.offsets.diff()
    if int(counts.max()) <= longest:
        return (matrix,)
    parts = torch.zeros_like(matrix.offsets)
    torch.cumsum((counts + longest - 1) // longest, 0, out=parts[1:])
    total = int(parts[-1])
    numbers = torch.arange(total, dtype=parts.dtype, device=parts.device)
    row = torch.searchsorted(parts, numbers, right=True) - 1
    starts = matrix.offsets[row] + (numbers - parts[row]) * longest
    first = replace(matrix, offsets=torch.cat([starts, matrix.offsets[-1:]]))
    return first, SparseMatrix(parts, numbers, torch.ones(total, dtype=matrix.weights.dtype, device=parts.device))


def _joined_factors(lattices: Sequence[Lattice]) -> tuple[Tensor | None, Tensor | None]:
    before = [lattice.before for lattice in lattices if lattice.before is not None]
    after = [lattice.after for lattice in lattices if lattice.after is not None]
    if not before:
        return None, None
    joined = torch.cat(before)
    if all(lattice.before is lattice.after for lattice in lattices):
        return joined, joined
    return joined, torch.cat(after)


def _enclosing_simplex(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The simplex around each pixel: for all d + 1 axes the cell (int32) and the rank (int64), and the barycentric
    weights of the vertices 0 to d.

    Vertex 0 lies at (d + 1) * cell. Vertex k lies k above it on the axes of rank <= d - k, and d + 1 - k below it on
    the others.
    """
    d, pixels = features.shape
    axes = d + 1
    inverse_std = float(np.float32(math.sqrt(2 / 3) * axes))
    elevated = features.new_empty(axes, pixels)
    total = features.new_zeros(pixels)
    for j in range(d, 0, -1):
        scaled = features[j - 1] * float(np.float32(1 / math.sqrt(j * (j + 1)) * inverse_std))
        elevated[j] = total - scaled * j
        total = total + scaled
    elevated[0] = total

    cells = (elevated * float(np.float32(1 / axes))).round()  # half to even
    offset = elevated - cells * axes
    rank = torch.zeros(axes, pixels, dtype=torch.int32, device=features.device)
    for i in range(axes):
        less = offset[i] < offset[i + 1 :]
        rank[i] += less.sum(0, dtype=torch.int32)
        rank[i + 1 :] += ~less
    cells = cells.int()
    rank += cells.sum(0, dtype=torch.int32)
    wrap = (rank < 0).int() - (rank > d).int()  # a cell too far down or up on this axis
    cells += wrap
    rank = (rank + wrap * axes).long()

    ordered = torch.empty_like(offset).scatter_(0, d - rank, (elevated - cells * axes) / axes)
    weights = torch.cat([ordered[:1] + (1 - ordered[-1:]), ordered[1:] - ordered[:-1]])
    return cells, rank, weights


def _vertex_keys(
    cells: Tensor, rank: Tensor, images: Sequence[tuple[int, int]]
) -> tuple[Tensor, list[tuple[int, int]], int]:
    """Numbers the lattice points of every pixel, (d + 1, N) int64: ((image, cell) as a number) * unit + vertex.

    `images` are the image and the number of its pixels, in the order of the pixels. Also returns for every axis the
    difference of the number to the next point down that axis: of points with vertex > 0, and of those with vertex 0;
    and the unit.
    """
    axes = len(cells)
    lowest, highest = torch.stack([cells.amin(1), cells.amax(1)]).tolist()
    if max(map(abs, (*lowest, *highest))) > _MOST_CELLS:
        raise UserError(TOO_MANY_CELLS)
    # A blur neighbour is at most one cell outside of the simplices' cells.
    low = [cell - 2 for cell in lowest]
    sizes = [high + 3 - cell for high, cell in zip(highest, low, strict=True)]
    # d axes say it all, as the sum over all axes is the vertex.
    strides = [0] * axes
    cells_so_far = 1
    for axis in [*range(axes - 3, -1, -1), axes - 1]:
        strides[axis] = cells_so_far * axes
        cells_so_far *= sizes[axis]
    of_image, unit = cells_so_far * axes, axes
    if of_image * (max(image for image, _ in images) + 1) >= 2**62:
        # By strides that look like random ones, modulo 2^64: two of a million points share a number with a probability
        # of 1e-5, for a batch that is tried for the first time.
        unit, low = 64, [0] * axes
        *strides, of_image = (_signed(_mix(k + 1) * unit) for k in range(axes + 1))
    steps = [(_signed(stride - 1), _signed(stride - sum(strides) + axes - 1)) for stride in strides]

    start = -sum(stride * cell for stride, cell in zip(strides, low, strict=True))
    on_device = torch.tensor(strides, device=cells.device)
    axis_of_rank = torch.empty_like(rank).scatter_(
        0, rank, torch.arange(axes, device=rank.device)[:, None].expand_as(rank)
    )
    keys = torch.empty_like(rank)
    keys[0] = torch.cat(
        [torch.full((n,), _signed(start + image * of_image), device=keys.device) for image, n in images]
    )
    for axis in range(axes):
        keys[0] += cells[axis].long() * strides[axis]
    for vertex in range(1, axes):
        keys[vertex] = keys[vertex - 1] - on_device[axis_of_rank[axes - vertex]] + 1
    return keys, steps, unit


def _signed(number: int) -> int:
    """The int64 that is equal modulo 2^64."""
    return (number + 2**63) % 2**64 - 2**63


def _mix(number: int) -> int:
    """The splitmix64 generator's output of this number (Steele, Lea and Flood, OOPSLA 2014)."""
    number = number * 0x9E3779B97F4A7C15 % 2**64
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ number >> 27) * 0x94D049BB133111EB % 2**64
    return number ^ number >> 31


def _blur(keys: Tensor, unit: int, step: int, step_of_first: int, index_type: torch.dtype) -> SparseMatrix:
    """A point and half its two neighbours along one axis, as far as they exist; `keys` are sorted."""
    wanted = keys + torch.where(keys % unit == 0, step_of_first, step)
    here = torch.arange(len(keys), dtype=index_type, device=keys.device)
    place = _search(keys, wanted).clamp_(max=len(keys) - 1)
    below = place.where(keys[place] == wanted, -1)
    # Itself, below, above; -1 where there is none. Points with none below write to one row more, which is not used.
    columns = here.new_full((len(keys) + 1, 3), -1)
    columns[:-1, 0] = here
    columns[:-1, 1] = below
    columns[below, 2] = here
    exists = columns[:-1] >= 0
    offsets = here.new_zeros(len(keys) + 1)
    torch.cumsum(exists.sum(1), 0, out=offsets[1:])
    entries = exists.flatten().nonzero()[:, 0]
    weights = torch.where(entries % 3 == 0, 1.0, 0.5)
    return SparseMatrix(offsets, columns.flatten()[entries], weights)


def _search(keys: Tensor, wanted: Tensor) -> Tensor:
    if keys.is_cuda:
        return torch.searchsorted(keys, wanted)
    # numpy's uses that `wanted` is nearly sorted, too, and takes half the time.
    return torch.from_numpy(np.searchsorted(keys.numpy(), wanted.numpy()))


def _block_diagonal(matrices: Sequence[SparseMatrix], widths: Sequence[int]) -> SparseMatrix:
    entries = np.cumsum([0] + [len(matrix.columns) for matrix in matrices]).tolist()
    columns = np.cumsum([0, *widths]).tolist()
    offsets = [matrix.offsets[:-1] + start for matrix, start in zip(matrices, entries, strict=False)]
    return SparseMatrix(
        torch.cat([*offsets, offsets[0].new_tensor([entries[-1]])]),
        torch.cat([matrix.columns + start for matrix, start in zip(matrices, columns, strict=False)]),
        torch.cat([matrix.weights for matrix in matrices]),
    )


@lru_cache(maxsize=1)
def _triton_product() -> Callable[..., Tensor] | None:
    """Triton's product where there is a GPU and it works there, which a small one tells once; else None."""
    if not torch.cuda.is_available() or importlib.util.find_spec('triton') is None:
        return None
    try:
        from .triton_product import product

        offsets, columns = (torch.tensor(part, dtype=torch.int32, device='cuda') for part in ([0, 2, 2, 3], [0, 2, 1]))
        weights, values = torch.ones(3, device='cuda'), torch.eye(3, device='cuda')
        expected = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]], device='cuda')
        if torch.equal(product(offsets, columns, weights, values), expected):
            return product
        problem = 'a product came out wrong'
    except Exception as error:  # Triton compiles on first use, with the machine's own compiler and driver
        problem = f'{type(error).__name__}: {error}'
    warnings.warn(f'Triton does not work here ({problem}); the dense CRF goes on without, more slowly', stacklevel=2)
    return None
