"""Gaussian filtering of N feature vectors on the permutohedral lattice, in torch, on the CPU or a GPU.

Source: Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010.
The lattice is that of the reference implementation, point by point: it holds only the points that a pixel touches, so
which points exist changes the result, and they depend on the last bit of the coordinates. Hence float32 arithmetic in
a fixed order of operations, each operation rounded on its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError


@dataclass(frozen=True)
class SparseMatrix:
    """Row r has `weights[k]` in column `columns[k]` for `offsets[r]` <= k < `offsets[r + 1]`."""

    offsets: Tensor
    columns: Tensor
    weights: Tensor

    def __matmul__(self, values: Tensor) -> Tensor:
        # On the CPU 2 to 5 times as fast as torch's product with a CSR matrix; on a GPU without atomics, so
        # deterministic.
        return torch.embedding_bag(
            values, self.columns, self.offsets, mode=0, per_sample_weights=self.weights, include_last_offset=True
        )[0]


@dataclass(frozen=True)
class Lattice:
    """The filter K of N pixels over M lattice points: `lattice(values)` is K values, for values (N, C).

    Attributes:
        splat: (M, N) barycentric weights. blurs: for each of the d + 1 axes (M, M), a point and half its two
            neighbours. slice: (N, M), the transposed weights times 1 / (1 + 2^-d).
    """

    splat: SparseMatrix
    blurs: tuple[SparseMatrix, ...]
    slice: SparseMatrix

    @property
    def points(self) -> int:
        return len(self.splat.offsets) - 1

    def __call__(self, values: Tensor) -> Tensor:
        values = self.splat @ values
        for blur in self.blurs:
            values = blur @ values
        return self.slice @ values

    def scaled(self, before: Tensor, after: Tensor) -> Lattice:
        """diag(after) K diag(before) for vectors (N,)."""
        splat = replace(self.splat, weights=self.splat.weights * before[self.splat.columns])
        axes = len(self.blurs)
        slice_ = replace(self.slice, weights=(self.slice.weights.view(-1, axes) * after[:, None]).flatten())
        return Lattice(splat, self.blurs, slice_)


def build(features: Tensor) -> Lattice:
    """The lattice of float32 features (d, N), each already divided by its standard deviation.

    Raises:
        ValueError: the features span more lattice cells than a 64-bit key can number.
    """
    d, pixels = features.shape
    axes = d + 1
    if pixels % 4:
        # The reference works on four pixels at a time and fills up the last four with the origin of the feature
        # space. The points around it then exist and pass values on, although no pixel ever adds to them.
        features = torch.cat([features, features.new_zeros(d, 1)], 1)
    cells, rank, weights = _enclosing_simplex(features)
    weights[:, pixels:] = 0
    keys, steps = _vertex_keys(cells, rank)
    found, order = keys.flatten().sort(stable=True)
    is_new = torch.ones_like(found, dtype=torch.bool)
    torch.ne(found[1:], found[:-1], out=is_new[1:])
    index_type = torch.int32 if len(found) < 2**31 else torch.int64
    starts = is_new.nonzero()[:, 0]
    keys = found[starts]
    points = torch.empty(len(found), dtype=index_type, device=found.device)
    points[order] = is_new.cumsum(0, dtype=index_type) - 1
    splat = SparseMatrix(
        torch.cat([starts, starts.new_tensor([len(found)])]).to(index_type),
        (order % features.shape[1]).clamp_(max=pixels - 1).to(index_type),
        weights.flatten()[order],
    )
    slice_ = SparseMatrix(
        torch.arange(0, pixels * axes + 1, axes, dtype=index_type, device=found.device),
        points.view(axes, -1)[:, :pixels].t().flatten(),
        weights[:, :pixels].t().flatten() / (1 + 2.0**-d),
    )
    return Lattice(splat, tuple(_blur(keys, axes, *step, index_type) for step in steps), slice_)


def concatenate(lattices: Sequence[Lattice]) -> Lattice:
    """One lattice for the pixels of all `lattices` (of the same number of axes), which do not see each other."""
    if len(lattices) == 1:
        return lattices[0]
    pixels = [len(lattice.slice.offsets) - 1 for lattice in lattices]
    points = [lattice.points for lattice in lattices]
    blurs = zip(*(lattice.blurs for lattice in lattices), strict=True)
    return Lattice(
        _block_diagonal([lattice.splat for lattice in lattices], pixels),
        tuple(_block_diagonal(blur, points) for blur in blurs),
        _block_diagonal([lattice.slice for lattice in lattices], points),
    )


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


def _vertex_keys(cells: Tensor, rank: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """Numbers the lattice points of every pixel, (d + 1, N) int64: (number of the cell) * (d + 1) + vertex.

    Also returns for every axis the difference of the number to the next point down that axis: of points with
    vertex > 0, and of those with vertex 0.
    """
    axes, pixels = cells.shape
    low = cells.amin(1) - 2  # a blur neighbour is at most one cell outside of the simplices' cells
    sizes = (cells.amax(1) - low + 3).tolist()
    # d axes say it all, as the sum over all axes is the vertex. The last axis is y where there are positions only:
    # as the leading digit, it puts points in raster order, which keeps the pixels' points together in memory.
    strides = [0] * axes
    cells_so_far = 1
    for axis in [*range(axes - 3, -1, -1), axes - 1]:
        strides[axis] = cells_so_far * axes
        cells_so_far *= sizes[axis]
    if cells_so_far * axes >= 2**62:
        raise UserError('the standard deviations are too small for these features: 64 bits cannot number the cells')

    strides = torch.tensor(strides, device=cells.device)
    axis_of_rank = torch.empty_like(rank).scatter_(
        0, rank, torch.arange(axes, device=rank.device)[:, None].expand_as(rank)
    )
    keys = torch.empty_like(rank)
    keys[0] = ((cells - low[:, None]) * strides[:, None]).sum(0)
    for vertex in range(1, axes):
        keys[vertex] = keys[vertex - 1] - strides[axis_of_rank[axes - vertex]] + 1
    total = int(strides.sum())
    return keys, [(stride - 1, stride - total + axes - 1) for stride in strides.tolist()]


def _blur(keys: Tensor, axes: int, step: int, step_of_first: int, index_type: torch.dtype) -> SparseMatrix:
    """A point and half its two neighbours along one axis, as far as they exist; `keys` are sorted."""
    wanted = keys + torch.where(keys % axes == 0, step_of_first, step)
    here = torch.arange(len(keys), device=keys.device)
    below = _search(keys, wanted).clamp_(max=len(keys) - 1)
    has_below = keys[below] == wanted
    below, above_of = below[has_below], here[has_below]
    has_above = torch.zeros_like(has_below)
    has_above[below] = True
    above = torch.empty_like(here)
    above[below] = above_of

    offsets = torch.zeros(len(keys) + 1, dtype=torch.int64, device=keys.device)
    torch.cumsum(1 + has_below.long() + has_above, 0, out=offsets[1:])
    columns = torch.empty(int(offsets[-1]), dtype=index_type, device=keys.device)
    weights = torch.full(columns.shape, 0.5, device=keys.device)
    columns[offsets[:-1]] = here.to(index_type)
    weights[offsets[:-1]] = 1
    columns[offsets[:-1][has_below] + 1] = below.to(index_type)
    columns[offsets[1:][has_above] - 1] = above[has_above].to(index_type)
    return SparseMatrix(offsets.to(index_type), columns, weights)


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
