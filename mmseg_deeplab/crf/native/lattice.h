// The permutohedral lattice of one kernel on one picture.
#pragma once

#include <cstdint>

#include "buffer.h"
#include "dcrf.h"
#include "kernels.h"

namespace dcrf {

struct Lattice {
  int axes = 0;
  int64_t pixels = 0, blocks = 0;
  uint32_t count = 0;  // of points
  Buffer<uint32_t> points, first_new, chain_points;
  Buffer<float> weights;
  Buffer<float> scale;  // per pixel, of the normalisations 'before' and 'after'
  Chains chains[kMaxAxes];

  int64_t bytes() const {
    return points.bytes() + first_new.bytes() + chain_points.bytes() + weights.bytes() + scale.bytes();
  }
};

// The lattice of the positions, without hash table and lists of neighbours; see GridView.
struct Grid {
  int64_t blocks = 0, points_number = 0;
  int32_t rows = 0, pitch = 0, window = 0;
  Buffer<uint16_t> points;
  Buffer<float> weights;
  Buffer<int32_t> base, top, complete, low, high;

  int64_t bytes() const {
    return points.bytes() + weights.bytes() + base.bytes() + top.bytes() + complete.bytes() + low.bytes() + high.bytes();
  }
};

inline LatticeView view_of(const Lattice &lattice, const float *source, float *target) {
  return {lattice.axes, lattice.count, lattice.points, lattice.weights, lattice.first_new, source, target};
}

inline GridView view_of(const Grid &grid, bool transposed, float *values, float *scratch) {
  return {grid.points, grid.weights, grid.base, grid.top, grid.complete, grid.low, grid.high,
          grid.rows, grid.pitch, grid.window, values, scratch, transposed};
}

inline size_t values_of(const Grid &grid) { return static_cast<size_t>(grid.pitch) * grid.rows; }
inline size_t scratch_of(const Grid &grid) { return static_cast<size_t>(grid.pitch) * (grid.window + 13); }

// What building needs and leaves behind for the next lattice.
struct Workspace {
  Buffer<uint32_t> entry_points, next, scratch{false};
  Buffer<uint8_t> marks;
  Buffer<float> channel, sums;

  int64_t bytes() const {
    return entry_points.bytes() + channel.bytes() + sums.bytes() + next.bytes() + scratch.bytes() + marks.bytes();
  }
};

// `weight` is folded into the weights, in equal parts before and after the filter; so are 'symmetric' and alpha.
// `memory` holds the hash table meanwhile.
int build(const Kernels &kernels, const dcrf_axis *axes, int dims, int64_t pixels, int64_t width, int normalization,
          float weight, Workspace &space, Buffer<float> &memory, Lattice &lattice);

// The same for positions, where their lattice is dense and small enough for 16-bit places; else false.
bool build_grid(const Kernels &kernels, const dcrf_axis *axes, int64_t pixels, int64_t width, int normalization,
                float weight, Grid &grid);

// From the blocks' rows: which are complete when, and how long the window has to be.
void finish_grid(Grid &grid);

}  // namespace dcrf
