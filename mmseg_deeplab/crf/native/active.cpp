// The fast mode's second part. After a few updates most pixels are certain of their class and hardly change any more.
// They keep their probabilities, and the others go on among themselves: with K the filter, Q the distribution when the
// last messages of all pixels were computed and A the uncertain pixels,
//     messages of a later Q' = K Q + K' (Q'_A - Q_A),
// where K' is the filter on the lattice points that pixels of A touch. K Q - K' Q_A does not change: it goes into the
// unary of the pixels of A, which then are a problem as the whole picture was, only smaller.

#include <algorithm>
#include <cstring>

#include "context.h"

namespace dcrf {
namespace {

constexpr int kLongestSpan = 64;  // rows of the position lattice that the pixels of one block may lie in

int at_of(int64_t entry, int vertex, int axes) {
  return static_cast<int>((entry / kBlock * axes + vertex) * kBlock + entry % kBlock);
}

}  // namespace

// The numbers of the uncertain pixels, so that those of a block lie near one another in the position lattice.
bool Context::list_active() {
  const Grid *grid = nullptr;
  for (const auto &filter : filters_)
    if (filter->is_grid) grid = filter->grid.get();
  const int span = grid ? std::min<int>(kLongestSpan, UINT16_MAX / grid->pitch - 1) : 0;
  int32_t *list = active_.list.reserve(static_cast<size_t>(2 * active_.found + 2 * kBlock));
  int64_t number = 0, room = 2 * active_.found;
  int base = 0, top = 0;
  for (int64_t k = 0; k < active_.found; k++) {
    const int32_t pixel = active_.found_list[k];
    if (grid) {
      const int64_t block = pixel / kBlock;
      const int low = std::min(base, grid->base[block]), high = std::max(top, grid->top[block]);
      if (number % kBlock && high - low > span) {
        while (number % kBlock) list[number++] = -1;
        if (number > room) return false;
      }
      if (number % kBlock == 0)
        base = grid->base[block], top = grid->top[block];
      else
        base = low, top = high;
      if (top - base > span) return false;
    }
    list[number++] = pixel;
    if (number > room) return false;
  }
  while (number % kBlock) list[number++] = -1;
  active_.pixels = number;
  return true;
}

void Context::freeze_grid(const Grid &from, Grid &to) {
  const int64_t pixels = active_.pixels;
  to.blocks = pixels / kBlock;
  to.rows = from.rows;
  to.pitch = from.pitch;
  uint16_t *points = to.points.reserve(static_cast<size_t>(pixels * 3));
  float *weights = to.weights.reserve(static_cast<size_t>(pixels * 3));
  int32_t *base = to.base.reserve(to.blocks), *top = to.top.reserve(to.blocks);
  to.complete.reserve(to.blocks);
  int32_t *low = to.low.reserve(to.rows), *high = to.high.reserve(to.rows);
  std::vector<int32_t> left(to.rows, INT32_MAX), right(to.rows, 0);
  for (int64_t block = 0; block < to.blocks; block++) {
    base[block] = INT32_MAX;
    top[block] = 0;
    for (int64_t k = block * kBlock; k < (block + 1) * kBlock; k++)
      if (active_.list[k] >= 0) {
        base[block] = std::min(base[block], from.base[active_.list[k] / kBlock]);
        top[block] = std::max(top[block], from.top[active_.list[k] / kBlock]);
      }
    for (int64_t k = block * kBlock; k < (block + 1) * kBlock; k++)
      for (int vertex = 0; vertex < 3; vertex++) {
        const int at = at_of(k, vertex, 3);
        const int32_t pixel = active_.list[k];
        weights[at] = 0;
        if (pixel < 0) {  // reads a place that has a value
          points[at] = points[at - at % kBlock];
          continue;
        }
        const int place = from.points[at_of(pixel, vertex, 3)];
        const int lower = from.base[pixel / kBlock] - base[block];
        points[at] = static_cast<uint16_t>(place + lower * to.pitch);
        weights[at] = from.weights[at_of(pixel, vertex, 3)];
        const int row = from.base[pixel / kBlock] + place / to.pitch, column = place % to.pitch;
        left[row] = std::min(left[row], column);
        right[row] = std::max(right[row], column + 1);
      }
  }
  // What the three blurs can reach from there, and a little more.
  for (int row = 0; row < to.rows; row++) {
    int first = INT32_MAX, last = 0;
    for (int near = std::max(0, row - 4); near <= std::min(to.rows - 1, row + 4); near++) {
      first = std::min(first, left[near]);
      last = std::max(last, right[near]);
    }
    low[row] = std::max(from.low[row], first - 4);
    high[row] = std::min(from.high[row], last + 4);
    if (first == INT32_MAX || low[row] >= high[row]) low[row] = high[row] = from.low[row];
  }
  finish_grid(to);
}

void Context::freeze_lattice(const Lattice &from, Lattice &to) {
  const int axes = to.axes = from.axes;
  const int64_t pixels = to.pixels = active_.pixels;
  to.blocks = pixels / kBlock;
  uint32_t *number = active_.number.reserve(from.count + 1), *touched = active_.touched.reserve(from.count);
  std::memset(number, 0xff, sizeof(uint32_t) * (from.count + 1));
  uint32_t *points = to.points.reserve(static_cast<size_t>(pixels * axes));
  float *weights = to.weights.reserve(static_cast<size_t>(pixels * axes));
  uint32_t *first_new = to.first_new.reserve(static_cast<size_t>(to.blocks + 1));
  uint32_t count = 0;
  for (int64_t block = 0; block < to.blocks; block++) {
    first_new[block] = count;
    for (int vertex = 0; vertex < axes; vertex++)
      for (int64_t k = block * kBlock; k < (block + 1) * kBlock; k++) {
        const int at = at_of(k, vertex, axes);
        const int32_t pixel = active_.list[k];
        points[at] = 0;
        weights[at] = 0;
        if (pixel < 0) continue;
        const uint32_t point = from.points[at_of(pixel, vertex, axes)];
        if (number[point] == kMissing) {
          number[point] = count;
          touched[count++] = point;
        }
        points[at] = number[point];
        weights[at] = from.weights[at_of(pixel, vertex, axes)];
      }
  }
  // The points between: what a value can reach over the axes so far, and from where the axes left lead to a pixel.
  uint8_t *reached = active_.reached.reserve(from.count), *leads = active_.leads.reserve(from.count);
  for (uint32_t p = 0; p < from.count; p++) {
    reached[p] = number[p] != kMissing;
    leads[p] = static_cast<uint8_t>(reached[p] << axes);
  }
  for (int axis = 0; axis < axes; axis++) {
    k_.spread(from.chains[axis], from.count, axis, axis + 1, reached);
    k_.spread(from.chains[axes - 1 - axis], from.count, axes - axis, axes - 1 - axis, leads);
  }
  for (uint32_t p = 0; p < from.count; p++)
    if (number[p] == kMissing && reached[p] & leads[p]) {
      number[p] = count;
      touched[count++] = p;
    }
  first_new[to.blocks] = to.count = count;
  uint32_t *out = to.chain_points.reserve(static_cast<size_t>(axes) * count);
  uint32_t *next = space_.next.reserve(count + 1);
  uint32_t *scratch = space_.scratch.reserve(static_cast<size_t>(kLongest + 1) * count);
  uint8_t *marks = space_.marks.reserve(count + 1);
  const auto link = [&](uint32_t point, uint32_t after) {
    if (number[point] != kMissing) next[number[point]] = std::min(number[after], count);
  };
  for (int axis = 0; axis < axes; axis++, out += count) {
    std::fill(next, next + count + 1, count);
    const Chains &chains = from.chains[axis];
    for (int length = 2; length <= kLongest; length++) {
      const uint32_t *at = chains.points[length];
      for (uint32_t chain = 0; chain < chains.chains[length]; chain++, at += length)
        for (int k = 0; k + 1 < length; k++) link(at[k], at[k + 1]);
    }
    for (uint32_t k = 0; k + 1 < chains.chains[0]; k++)
      if (!(chains.points[0][k] & kEnd)) link(chains.points[0][k], chains.points[0][k + 1] & ~kEnd);
    k_.chain(next, count, marks, scratch, out, &to.chains[axis]);
  }
}

// `rows_` holds the distribution that the last messages were computed of, `active_.found_rows` the present one of the
// uncertain pixels.
bool Context::freeze() {
  if (!list_active()) return false;
  const int64_t pixels = active_.pixels;
  const size_t row = static_cast<size_t>(row_);
  float *unary = active_.unary.reserve(pixels * row), *before = active_.rows.reserve(pixels * row);
  float *rest = others_.empty() ? nullptr : active_.rest.reserve(pixels);
  active_.share.reserve(pixels);
  for (int64_t k = 0, found = 0; k < pixels; k++) {
    const int32_t pixel = active_.list[k];
    if (pixel < 0) {
      std::fill(unary + k * row, unary + (k + 1) * row, 1.0f);
      std::fill(before + k * row, before + (k + 1) * row, 0.0f);
      if (rest) rest[k] = 1;
      continue;
    }
    std::memcpy(unary + k * row, active_.found_rows + found++ * row, sizeof(float) * row);
    std::memcpy(before + k * row, rows_ + pixel * row, sizeof(float) * row);
    if (rest) rest[k] = rest_[pixel] * share_[pixel];
  }
  active_.filters.resize(filters_.size());
  for (size_t i = 0; i < filters_.size(); i++) {
    auto &to = active_.filters[i];
    if (!to) to = std::make_unique<Filter>();
    to->is_grid = filters_[i]->is_grid;
    if (to->is_grid) {
      if (!active_.grid) active_.grid = std::make_shared<Grid>();
      freeze_grid(*filters_[i]->grid, *active_.grid);
      to->grid = active_.grid;
    } else {
      freeze_lattice(filters_[i]->lattice, to->lattice);
    }
  }
  is_active_ = true;
  reserve_values();
  Pass pass = pass_of(false, true, nullptr);
  pass.distribution = before;
  run(pass);
  pass = pass_of(true, false, nullptr);
  pass.messages = before;
  run(pass);
  pass = pass_of(false, true, nullptr);
  pass.distribution = unary;
  run(pass);
  k_.discount(unary, before, static_cast<int64_t>(pixels * row));
  return true;
}

void Context::write_active(float *out) {
  for (int64_t k = 0; k < active_.pixels; k++) {
    const int32_t pixel = active_.list[k];
    if (pixel < 0) continue;
    for (size_t c = 0; c < kept_.size(); c++) out[kept_[c] * problem_.pixels + pixel] = active_.rows[k * row_ + c];
    if (others_.empty()) continue;
    const float share = share_[pixel] * active_.share[k];
    for (const int c : others_) {
      const int64_t at = c * problem_.pixels + pixel;
      out[at] = std::min(std::max(problem_.probabilities[at], problem_.clip), 1.0f) * share;
    }
  }
}

}  // namespace dcrf
