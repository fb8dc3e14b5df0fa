"""The product of a sparse matrix and many columns as one Triton kernel, for a GPU.

Triton comes with PyTorch's builds for CUDA. `lattice.SparseMatrix` does the same with PyTorch's own operations, which
stay the reference, and is what runs where Triton does not.
"""

from __future__ import annotations

import triton  # ty: ignore[import-not-found]  comes with torch's builds for CUDA
import triton.language as tl  # ty: ignore[import-not-found]
from torch import Tensor

ROWS = 16
"""Rows of a program; they take as long as the longest of them."""


@triton.jit
def product_kernel(offsets, columns, weights, values, out, rows, width, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, WIDTH)
    inside = row < rows
    start = tl.load(offsets + row, mask=inside, other=0)
    end = tl.load(offsets + row + 1, mask=inside, other=0)
    in_width = (column < width)[None, :]
    total = tl.zeros((ROWS, WIDTH), dtype=values.dtype.element_ty)
    for k in range(0, tl.max(end - start, axis=0)):
        here = start + k < end
        source = tl.load(columns + start + k, mask=here, other=0).to(tl.int64)
        weight = tl.load(weights + start + k, mask=here, other=0.0)
        place = source[:, None] * width + column[None, :]
        total += weight[:, None] * tl.load(values + place, mask=here[:, None] & in_width, other=0.0)
    place = row.to(tl.int64)[:, None] * width + column[None, :]
    tl.store(out + place, total, mask=inside[:, None] & in_width)


def product(offsets: Tensor, columns: Tensor, weights: Tensor, values: Tensor) -> Tensor:
    """Row r is the sum of `weights[k] * values[columns[k]]` over `offsets[r]` <= k < `offsets[r + 1]`.

    Args:
        offsets: (R + 1,) integers. columns: (K,) integers. weights: (K,) and values: (N, C), of one type of float.
    """
    values = values.contiguous()
    rows, width = len(offsets) - 1, values.shape[1]
    out = values.new_empty(rows, width)
    grid = (triton.cdiv(rows, ROWS),)
    product_kernel[grid](
        offsets, columns, weights, values, out, rows, width, ROWS=ROWS, WIDTH=triton.next_power_of_2(width)
    )
    return out
