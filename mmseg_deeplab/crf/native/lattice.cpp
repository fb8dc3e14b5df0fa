#include "lattice.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace dcrf {
namespace {

// The features of pixels start .. start + number, [dims][kBatch]; pixels beyond `pixels` lie at the origin.
void features_of(const dcrf_axis *axes, int dims, int64_t pixels, int64_t width, int64_t start, float *features) {
  const int number = static_cast<int>(std::min<int64_t>(kBatch, std::max<int64_t>(0, pixels - start)));
  for (int a = 0; a < dims; a++, features += kBatch) {
    const dcrf_axis &axis = axes[a];
    const float std = axis.std;
    if (axis.kind == DCRF_X || axis.kind == DCRF_Y) {
      int64_t x = start % width, y = start / width;
      for (int i = 0; i < number; i++) {
        features[i] = static_cast<float>(axis.kind == DCRF_X ? x : y);
        if (++x == width) x = 0, y++;
      }
    } else if (axis.kind == DCRF_UINT8) {
      const uint8_t *from = static_cast<const uint8_t *>(axis.data) + start * axis.stride;
      for (int i = 0; i < number; i++) features[i] = static_cast<float>(from[i * axis.stride]);
    } else if (axis.kind == DCRF_UINT16) {
      const uint16_t *from = static_cast<const uint16_t *>(axis.data) + start * axis.stride;
      for (int i = 0; i < number; i++) features[i] = static_cast<float>(from[i * axis.stride]);
    } else {
      const float *from = static_cast<const float *>(axis.data) + start * axis.stride;
      for (int i = 0; i < number; i++) features[i] = from[i * axis.stride];
    }
    for (int i = number; i < kBatch; i++) features[i] = 0;
    for (int i = 0; i < kBatch; i++) features[i] /= std;
  }
}

// Smallest and largest feature of each axis, the origin included.
void range_of(const dcrf_axis *axes, int dims, int64_t pixels, int64_t width, double *low, double *high) {
  for (int a = 0; a < dims; a++) {
    const dcrf_axis &axis = axes[a];
    low[a] = high[a] = 0;
    if (axis.kind == DCRF_X) {
      high[a] = static_cast<double>(std::min(width, pixels) - 1);
    } else if (axis.kind == DCRF_Y) {
      high[a] = static_cast<double>((pixels - 1) / width);
    } else if (axis.kind == DCRF_UINT8) {
      high[a] = 255;
    } else if (axis.kind == DCRF_UINT16) {
      const uint16_t *from = static_cast<const uint16_t *>(axis.data);
      uint16_t largest = 0;
      for (int64_t i = 0; i < pixels; i++) largest = std::max(largest, from[i * axis.stride]);
      high[a] = largest;
    } else {
      const float *from = static_cast<const float *>(axis.data);
      float smallest = 0, largest = 0;
      for (int64_t i = 0; i < pixels; i++) {
        smallest = std::min(smallest, from[i * axis.stride]);
        largest = std::max(largest, from[i * axis.stride]);
      }
      low[a] = smallest;
      high[a] = largest;
    }
    low[a] /= axis.std;
    high[a] /= axis.std;
  }
}

// The cells of many or widely spread features: by strides that look like random ones (splitmix64), modulo 2^64. Two of a
// million points share a number with a probability of 1e-5, for a picture that is tried for the first time.
void hash_cells(Numbering &numbering) {
  numbering.unit = 64;  // more than there are axes
  numbering.total = 0;
  uint64_t state = 0;
  for (int i = 0; i < numbering.axes; i++) {
    uint64_t z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    numbering.low[i] = 0;
    numbering.stride[i] = (z ^ z >> 31) * numbering.unit;
    numbering.total += numbering.stride[i];
  }
}

// Mixed radix over the cells that features in these ranges can touch, or `hash_cells` where 64 bits do not hold it (bits
// = 64); false where a cell is beyond what single precision holds.
bool number_cells(int dims, const double *low, const double *high, Numbering &numbering, int *bits) {
  const int axes = numbering.axes = dims + 1;
  double scale[kMaxAxes];
  for (int i = 0; i < dims; i++) scale[i] = std::sqrt(2.0 / 3.0) * axes / std::sqrt((i + 1.0) * (i + 2.0));
  double below[kMaxAxes], size[kMaxAxes];
  for (int i = 0; i < axes; i++) {
    // coordinate i: the scaled features from i on, less i times the one before
    double smallest = i ? -i * high[i - 1] * scale[i - 1] : 0, largest = i ? -i * low[i - 1] * scale[i - 1] : 0;
    for (int k = i; k < dims; k++) smallest += low[k] * scale[k], largest += high[k] * scale[k];
    // the nearest cell, wrapped, a vertex of the simplex and a blur neighbour, and one for rounding
    below[i] = std::floor(smallest / axes) - 4;
    size[i] = std::ceil(largest / axes) + 4 - below[i] + 1;
    if (std::abs(below[i]) > 4e6 || size[i] > 4e6) return false;  // beyond what `elevate` rounds
  }
  // d axes say it all, as the sum over all axes is the remainder: the largest is left out.
  const int left_out = static_cast<int>(std::max_element(size, size + axes) - size);
  double all = axes;
  uint64_t stride = numbering.unit = static_cast<uint64_t>(axes);
  numbering.total = 0;
  for (int i = 0; i < axes; i++) {
    numbering.low[i] = static_cast<int32_t>(below[i]);
    numbering.stride[i] = 0;
    if (i == left_out) continue;
    all *= size[i];
    if (all > std::ldexp(1.0, 62)) {
      hash_cells(numbering);
      *bits = 64;
      return true;
    }
    numbering.stride[i] = stride;
    numbering.total += stride;
    stride *= static_cast<uint64_t>(size[i]);
  }
  *bits = static_cast<int>(std::ceil(std::log2(all))) + 1;
  return true;
}

// The d + 1 coordinates of the point with this number.
void keys_of(uint64_t number, const Numbering &numbering, int64_t *key) {
  const int axes = numbering.axes;
  const int64_t remainder = static_cast<int64_t>(number % static_cast<uint64_t>(axes));
  int64_t sum = 0;
  int left_out = 0;
  uint64_t above = ~0ull;
  for (int i = axes - 1; i >= 0; i--) {
    if (!numbering.stride[i]) {
      left_out = i;
      continue;
    }
    const int64_t cell = static_cast<int64_t>(number % above / numbering.stride[i]) + numbering.low[i];
    above = numbering.stride[i];
    key[i] = cell * axes + remainder;
    sum += key[i];
  }
  key[left_out] = -sum;
}

// The row sums of the grid's filter, one channel: plain, as a grid is kept.
void grid_sums(const Grid &grid, double alpha, std::vector<float> &sums) {
  std::vector<float> values(static_cast<size_t>(grid.rows) * grid.pitch), blurred;
  const auto each = [&](auto &&f) {
    for (int64_t at = 0; at < grid.blocks * 3 * kBlock; at++) {
      const int64_t block = at / (3 * kBlock);
      f(static_cast<size_t>(grid.base[block]) * grid.pitch + grid.points[at], grid.weights[at],
        block * kBlock + at % kBlock);
    }
  };
  each([&](size_t point, float weight, int64_t) { values[point] += weight; });
  for (int axis = 0; axis < 3; axis++) {
    blurred.assign(values.size(), 0.0f);
    for (int32_t row = 0; row < grid.rows; row++)
      for (int32_t column = grid.low[row]; column < grid.high[row]; column++) {
        const int odd = row & 1, step = axis == 2 ? 2 : 1;
        const int after = axis == 0 ? odd - 1 : axis == 1 ? odd : 0, before = axis == 0 ? odd : axis == 1 ? odd - 1 : 0;
        float sum = 0;
        if (row + step < grid.rows) sum += values[static_cast<size_t>(row + step) * grid.pitch + column + after];
        if (row >= step) sum += values[static_cast<size_t>(row - step) * grid.pitch + column + before];
        const size_t here = static_cast<size_t>(row) * grid.pitch + column;
        blurred[here] = values[here] + 0.5f * sum;
      }
    values.swap(blurred);
  }
  sums.assign(static_cast<size_t>(grid.blocks * kBlock), 0.0f);
  each([&](size_t point, float weight, int64_t pixel) { sums[pixel] += weight * values[point]; });
  for (float &sum : sums) sum = static_cast<float>(alpha) * sum + 1e-20f;
}

class Builder {
 public:
  Builder(const Kernels &kernels, Workspace &space, Buffer<float> &memory, Lattice &lattice)
      : k_(kernels), space_(space), memory_(memory), lattice_(lattice) {}

  int points(const dcrf_axis *axes, int dims, int64_t width) {
    double low[kMaxAxes], high[kMaxAxes];
    range_of(axes, dims, lattice_.pixels, width, low, high);
    int bits;
    if (!number_cells(dims, low, high, numbering_, &bits)) return DCRF_TOO_MANY_CELLS;
    const int axes_number = dims + 1;
    const int64_t most = (lattice_.pixels + kBatch) * axes_number;
    if (most > std::numeric_limits<uint32_t>::max() - 1) return DCRF_TOO_LARGE;
    packed_ = bits < 40 && most < (1 << 24);
    table_.bits = 12;
    while ((1ll << table_.bits) < lattice_.pixels) table_.bits++;
    make_table(0);

    const int64_t padded = (lattice_.pixels + kBatch - 1) / kBatch * kBatch;
    uint32_t *points = lattice_.points.reserve(static_cast<size_t>(padded * axes_number));
    float *weights = lattice_.weights.reserve(static_cast<size_t>(padded * axes_number));
    uint32_t *first_new = lattice_.first_new.reserve(static_cast<size_t>(padded / kBlock + 1));
    alignas(128) float features[kMaxAxes * kBatch];
    alignas(128) float batch_weights[kMaxAxes * kBatch];
    alignas(128) uint64_t numbers[kMaxAxes * kBatch];
    uint32_t count = 0;
    for (int64_t start = 0; start < padded; start += kBatch) {
      const int number = static_cast<int>(std::min<int64_t>(kBatch, lattice_.pixels - start));
      features_of(axes, dims, lattice_.pixels, width, start, features);
      k_.elevate(features, numbering_, numbers, batch_weights);
      // The reference works on four pixels at a time and fills up the last four with the origin of the feature space:
      // the points around it exist then and pass values on.
      const int touched = std::min(kBatch, (number + 3) / 4 * 4);
      const uint64_t room = count + static_cast<uint64_t>(kBatch) * axes_number;
      if (2 * room > 1ull << table_.bits) {
        while (2 * room > 1ull << table_.bits) table_.bits++;
        make_table(count);
      }
      uint32_t *block_points = points + start * axes_number;
      float *block_weights = weights + start * axes_number;
      for (int block = 0; block < kBatch / kBlock; block++)
        for (int vertex = 0; vertex < axes_number; vertex++)
          std::memcpy(block_weights + (block * axes_number + vertex) * kBlock,
                      batch_weights + vertex * kBatch + block * kBlock, sizeof(float) * kBlock);
      count = k_.insert(numbers, axes_number, touched, table_, keys_, count, block_points, first_new);
      first_new += kBatch / kBlock;
      for (int i = number; i < kBatch; i++)
        for (int vertex = 0; vertex < axes_number; vertex++) {
          const int at = (i / kBlock * axes_number + vertex) * kBlock + i % kBlock;
          block_points[at] = 0;
          block_weights[at] = 0;
        }
    }
    *first_new = count;
    lattice_.count = count;
    return DCRF_OK;
  }

  void neighbours() {
    const int axes = lattice_.axes;
    const size_t count = lattice_.count;
    uint32_t *out = lattice_.chain_points.reserve(axes * count);
    uint32_t *next = space_.next.reserve(count + 1);
    uint32_t *scratch = space_.scratch.reserve((kLongest + 1) * count);
    uint8_t *marks = space_.marks.reserve(count + 1);
    for (int axis = 0; axis < axes; axis++, out += count) {
      next[count] = lattice_.count;
      k_.neighbours(keys_, lattice_.count, numbering_, axis, table_, next);
      k_.chain(next, lattice_.count, marks, scratch, out, &lattice_.chains[axis]);
    }
  }

  void normalize(int normalization, float weight) {
    const int axes = lattice_.axes;
    const double alpha = 1 / (1 + std::ldexp(1.0, 1 - axes));
    const int64_t padded = lattice_.blocks * kBlock;
    float *sums = space_.sums.reserve(static_cast<size_t>(padded));
    if (normalization == DCRF_NONE) {
      fold(sums, static_cast<float>(std::sqrt(alpha * weight)));
      return;
    }
    const size_t count = lattice_.count;
    float *values = space_.channel.reserve(count);
    std::memset(values, 0, sizeof(float) * count);
    k_.splat_one(lattice_.points, lattice_.weights, axes, lattice_.blocks, values);
    for (int axis = 0; axis < axes; axis++) k_.blur(1, values, count, lattice_.chains[axis]);
    k_.slice_one(lattice_.points, lattice_.weights, axes, lattice_.blocks, values, sums);
    for (int64_t i = 0; i < padded; i++) sums[i] = static_cast<float>(alpha) * sums[i] + 1e-20f;
    if (normalization == DCRF_SYMMETRIC) {
      const float root = static_cast<float>(std::sqrt(alpha * weight));
      for (int64_t i = 0; i < padded; i++) sums[i] = root / std::sqrt(sums[i]);
      k_.scale_weights(lattice_.weights, axes, lattice_.blocks, sums);
    } else {
      float *scale = lattice_.scale.reserve(static_cast<size_t>(padded));
      for (int64_t i = 0; i < padded; i++) scale[i] = 1 / sums[i];
      fold(sums, static_cast<float>(std::sqrt(alpha * weight)));
    }
  }

 private:
  // A table at most half full, and room for as many keys; the `count` points there are find their old numbers again, as
  // they come in order.
  void make_table(uint32_t count) {
    const size_t size = size_t{1} << table_.bits;
    constexpr size_t kFloats = sizeof(uint64_t) / sizeof(float);
    // The keys, beside the memory that may grow: it holds a call's lattice values next, and is not to be taken anew.
    auto *before = reinterpret_cast<uint64_t *>(space_.scratch.reserve(size_t{2} * count));
    std::copy(keys_, keys_ + count, before);
    table_.entries = reinterpret_cast<uint64_t *>(memory_.reserve(kFloats * (size + size / 2)));
    uint64_t *keys = table_.entries + size;
    std::copy(before, before + count, keys);
    keys_ = keys;
    std::memset(table_.entries, 0xff, sizeof(uint64_t) * size);
    table_.points = packed_ ? nullptr : space_.entry_points.reserve(size);
    uint64_t numbers[kBatch] = {};
    uint32_t points[kBatch], first_new[kBatch / kBlock];
    for (uint32_t start = 0; start < count; start += kBatch) {
      const int number = static_cast<int>(std::min<uint32_t>(kBatch, count - start));
      std::copy(keys + start, keys + start + number, numbers);
      k_.insert(numbers, 1, number, table_, keys, start, points, first_new);
    }
  }

  void fold(float *scale, float factor) {
    std::fill(scale, scale + lattice_.blocks * kBlock, factor);
    k_.scale_weights(lattice_.weights, lattice_.axes, lattice_.blocks, scale);
  }

  const Kernels &k_;
  Workspace &space_;
  Buffer<float> &memory_;
  Lattice &lattice_;
  Numbering numbering_;
  Table table_;
  uint64_t *keys_ = nullptr;  // [count], in the order of the points
  bool packed_ = true;
};

}  // namespace

int build(const Kernels &kernels, const dcrf_axis *axes, int dims, int64_t pixels, int64_t width, int normalization,
          float weight, Workspace &space, Buffer<float> &memory, Lattice &lattice) {
  lattice.axes = dims + 1;
  lattice.pixels = pixels;
  lattice.blocks = (pixels + kBlock - 1) / kBlock;
  Builder builder(kernels, space, memory, lattice);
  const int status = builder.points(axes, dims, width);
  if (status != DCRF_OK) return status;
  builder.neighbours();
  builder.normalize(normalization, weight);
  return DCRF_OK;
}

void finish_grid(Grid &grid) {
  int32_t *complete = grid.complete;
  int32_t least = grid.rows, live = 0, done = 0;
  for (int64_t block = grid.blocks - 1; block >= 0; block--) {
    complete[block] = least;
    least = std::min(least, grid.base[block]);
  }
  for (int64_t block = 0; block < grid.blocks; done = complete[block++]) live = std::max(live, grid.top[block] - done + 2);
  grid.window = live + std::max(live, 8);
}

bool build_grid(const Kernels &kernels, const dcrf_axis *axes, int64_t pixels, int64_t width, int normalization,
                float weight, Grid &grid) {
  double low[2], high[2];
  range_of(axes, 2, pixels, width, low, high);
  Numbering numbering;
  int bits;
  if (!number_cells(2, low, high, numbering, &bits) || bits == 64) return false;  // to be told from their numbers
  const int64_t padded = (pixels + kBatch - 1) / kBatch * kBatch;
  grid.blocks = (pixels + kBlock - 1) / kBlock;
  std::vector<int32_t> rows(padded * 3), columns(padded * 3);
  float *weights = grid.weights.reserve(padded * 3);
  alignas(128) float features[2 * kBatch], batch_weights[3 * kBatch];
  alignas(128) uint64_t numbers[3 * kBatch];
  int32_t first_row = INT32_MAX, last_row = INT32_MIN;
  for (int64_t start = 0; start < padded; start += kBatch) {
    features_of(axes, 2, pixels, width, start, features);
    kernels.elevate(features, numbering, numbers, batch_weights);
    for (int i = 0; i < kBatch; i++)
      for (int vertex = 0; vertex < 3; vertex++) {
        const int64_t at = ((start + i) / kBlock * 3 + vertex) * kBlock + i % kBlock;
        const bool real = start + i < pixels;
        weights[at] = real ? batch_weights[vertex * kBatch + i] : 0;
        int64_t key[3];
        keys_of(numbers[vertex * kBatch + i], numbering, key);
        // Row -key[2]; within it, points are two rows' columns apart: see the neighbours in Window::stage.
        const int64_t row = key[0] + key[1], across = (key[1] - key[0]) / 3;
        rows[at] = static_cast<int32_t>(row);
        columns[at] = static_cast<int32_t>((across - (row & 1)) / 2);
        if (real) first_row = std::min(first_row, rows[at]), last_row = std::max(last_row, rows[at]);
      }
  }
  first_row -= first_row & 1;
  grid.rows = last_row - first_row + 1;
  // The columns of each row.
  int32_t *lows = grid.low.reserve(grid.rows), *highs = grid.high.reserve(grid.rows);
  std::fill(lows, lows + grid.rows, INT32_MAX);
  std::fill(highs, highs + grid.rows, INT32_MIN);
  const int64_t last_block_pixels = pixels - (grid.blocks - 1) * kBlock;
  const auto is_real = [&](int64_t at) {
    return at / (3 * kBlock) < grid.blocks - 1 || at % kBlock < last_block_pixels;
  };
  for (int64_t at = 0; at < grid.blocks * 3 * kBlock; at++)
    if (is_real(at)) {
      int32_t &row = rows[at];
      row -= first_row;
      lows[row] = std::min(lows[row], columns[at]);
      highs[row] = std::max(highs[row], columns[at] + 1);
    }
  int32_t left = INT32_MAX, right = INT32_MIN;
  for (int32_t row = 0; row < grid.rows; row++)
    if (lows[row] < highs[row]) left = std::min(left, lows[row]), right = std::max(right, highs[row]);
  grid.pitch = right - left + 2;
  if (static_cast<int64_t>(grid.pitch) * grid.rows > 4 * (pixels + 4096) * 3) return false;
  std::vector<bool> there(static_cast<size_t>(grid.pitch) * grid.rows);
  for (int32_t row = 0; row < grid.rows; row++) {
    if (lows[row] > highs[row]) lows[row] = highs[row] = left;
    lows[row] += 1 - left;
    highs[row] += 1 - left;
  }
  uint16_t *points = grid.points.reserve(padded * 3);
  int32_t *base = grid.base.reserve(grid.blocks), *top = grid.top.reserve(grid.blocks);
  grid.complete.reserve(grid.blocks);
  for (int64_t block = 0; block < grid.blocks; block++) {
    const int64_t start = block * 3 * kBlock;
    base[block] = INT32_MAX;
    top[block] = 0;
    for (int64_t at = start; at < start + 3 * kBlock; at++)
      if (is_real(at)) base[block] = std::min(base[block], rows[at]), top[block] = std::max(top[block], rows[at] + 1);
    for (int64_t at = start; at < start + 3 * kBlock; at++) {
      if (!is_real(at)) {  // reads a place that has a value, with weight 0
        points[at] = points[at - at % kBlock];
        continue;
      }
      const int64_t place = static_cast<int64_t>(rows[at] - base[block]) * grid.pitch + columns[at] + 1 - left;
      if (place > UINT16_MAX) return false;
      points[at] = static_cast<uint16_t>(place);
      there[static_cast<size_t>(rows[at]) * grid.pitch + columns[at] + 1 - left] = true;
    }
  }
  grid.points_number = 0;
  for (int32_t row = 0; row < grid.rows; row++) {
    for (int32_t column = lows[row]; column < highs[row]; column++)
      if (!there[static_cast<size_t>(row) * grid.pitch + column]) return false;
    grid.points_number += highs[row] - lows[row];
  }
  finish_grid(grid);
  const double alpha = 1 / (1 + 0.25);
  const float root = static_cast<float>(std::sqrt(alpha * weight));
  std::vector<float> scale(static_cast<size_t>(grid.blocks * kBlock), 1.0f);
  if (normalization == DCRF_SYMMETRIC) grid_sums(grid, alpha, scale);
  for (float &each : scale) each = root / std::sqrt(each);
  kernels.scale_weights(grid.weights, 3, grid.blocks, scale.data());
  return true;
}

}  // namespace dcrf
