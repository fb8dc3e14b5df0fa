// One kernel's filter by itself, and its transpose: what a gradient needs.

#include <utility>

#include "context.h"

namespace dcrf {

// out = K rows or K^T rows, both [pixels padded][row]; rows beyond the last pixel count for nothing, and are 0 in `out`.
void Context::apply(const Filter &filter, int64_t pixels, int normalization, bool transposed, int row,
                    const float *rows, float *out) {
  const Lattice &lattice = filter.lattice;
  const float *before = normalization == DCRF_BEFORE ? lattice.scale.data() : nullptr;
  const float *after = normalization == DCRF_AFTER ? lattice.scale.data() : nullptr;
  if (transposed) std::swap(before, after);
  Pass pass{};
  pass.pixels = pixels;
  GridView grid;
  float *values;
  if (filter.is_grid) {
    values = values_.reserve(values_of(*filter.grid) * row);
    grid = view_of(*filter.grid, transposed, values, window_.reserve(scratch_of(*filter.grid) * row));
    pass.grid = &grid;
  } else {
    values = values_.reserve(static_cast<size_t>(lattice.count) * row);
    pass.lattice[pass.lattices++] = view_of(lattice, values, values);
  }
  pass.distribution = rows;
  pass.scale = before;
  pass.splat = true;
  k_.pass(row, pass);
  // As points are missing, the blurs do not commute.
  if (!filter.is_grid)
    for (int axis = 0; axis < lattice.axes; axis++)
      k_.blur(row, values, lattice.count, lattice.chains[transposed ? lattice.axes - 1 - axis : axis]);
  pass.distribution = nullptr;
  pass.scale = after;
  pass.splat = false;
  pass.slice = true;
  pass.messages = out;
  k_.pass(row, pass);
}

}  // namespace dcrf
