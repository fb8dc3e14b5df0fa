#include "context.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "cache.h"

namespace dcrf {
namespace {

double now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// The dropped probabilities of a pixel add up to this at most, of the input and after the first update.
constexpr float kAdaptive = 1e-3f, kFast = 1e-2f;
// Fast: at the update kFreeze, pixels with one probability above 1 - kUncertain are left as they are, if not too many of
// them are less certain.
constexpr int kFreeze = 3;
constexpr float kUncertain = 1e-3f;
// Messages move log-odds by about the sum of the weights: above this sum, certainty has to be greater.
constexpr float kUsualWeight = 9;
float certain(const dcrf_problem &problem) {
  float weight = 0;
  for (int i = 0; i < problem.number_of_kernels; i++) weight += std::abs(*problem.kernels[i].compat);
  return 1 - kUncertain * std::exp(std::min(0.0f, kUsualWeight - weight));
}
constexpr double kMostActive = 0.35;
constexpr int kWidestRow = 32, kBlockOfClasses = 16;
constexpr float kLargestSum = 1e30f;

int row_of(size_t classes) { return static_cast<int>((classes + 7) / 8 * 8); }

bool is_foldable(int normalization) { return normalization == DCRF_SYMMETRIC || normalization == DCRF_NONE; }

}  // namespace

int Context::begin(const dcrf_problem &problem) {
  problem_ = problem;
  started_ = is_active_ = overflow_ = freezing_ = fused_ = false;
  room_ = 0;
  done_ = 0;
  std::fill(seconds, seconds + 8, 0.0);
  std::fill(points, points + 8, 0);
  const int status = build_filters();
  if (status) return status;
  const double t = now();
  kept_.resize(problem_.classes);
  std::iota(kept_.begin(), kept_.end(), 0);
  others_.clear();
  dropping_ = problem_.mode != DCRF_ALL && potts_;
  if (dropping_) choose_classes(problem_.mode == DCRF_FAST ? kFast : kAdaptive);
  blocked_ = !potts_ || kept_.size() > kWidestRow;
  seconds[2] += now() - t;
  return DCRF_OK;
}

// Positions lie on a grid, where nothing has to be scaled before or after it.
int Context::build_filter(const dcrf_axis *axes, int dims, int64_t pixels, int64_t width, int normalization,
                          float weight, bool as_grid, Filter &filter) {
  filter.grid = nullptr;
  if (as_grid && is_foldable(normalization) && dims == 2 && axes[0].kind == DCRF_X && axes[1].kind == DCRF_Y)
    filter.grid = cached_grid(k_, axes, pixels, width, normalization, weight);
  filter.is_grid = filter.grid != nullptr;
  if (filter.is_grid) return DCRF_OK;
  return build(k_, axes, dims, pixels, width, normalization, weight, space_, filter.values, filter.lattice);
}

int Context::build_filters() {
  potts_ = is_foldable(problem_.normalization);
  for (int i = 0; i < problem_.number_of_kernels; i++)
    potts_ &= problem_.kernels[i].compat_dims == 0 && problem_.kernels[i].compat[0] > 0;
  filters_.resize(problem_.number_of_kernels);
  bool grid_there = false;
  for (int i = 0; i < problem_.number_of_kernels; i++) {
    double t = now();
    const dcrf_kernel &kernel = problem_.kernels[i];
    if (!filters_[i]) filters_[i] = std::make_unique<Filter>();
    Filter &filter = *filters_[i];
    size_t numbers = 1;
    for (int k = 0; k < kernel.compat_dims; k++) numbers *= problem_.classes;
    filter.compat.assign(kernel.compat, kernel.compat + numbers);
    filter.compat_dims = kernel.compat_dims;
    const float weight = potts_ ? kernel.compat[0] : 1;
    const int status = build_filter(kernel.axes, kernel.dims, problem_.pixels, problem_.width, problem_.normalization,
                                    weight, !grid_there, filter);
    if (status) return status;
    grid_there |= filter.is_grid;
    points[i] = filter.is_grid ? filter.grid->points_number : filter.lattice.count;
    seconds[filter.is_grid ? 0 : 1] += now() - t;
  }
  int lattices = 0;
  for (const auto &filter : filters_) lattices += !filter->is_grid;
  if (lattices > 2) potts_ = false;  // more than a pass takes at once
  return DCRF_OK;
}

// ------------------------------------------------------------------------------------------------------------ classes

void Context::choose_classes(float threshold) {
  const int classes = problem_.classes;
  std::vector<float> largest(classes), sums(classes);
  std::vector<int> order(classes);
  for (int c = 0; c < classes; c++) {
    float low;
    int64_t between;
    bool finite;
    k_.scan(problem_.probabilities + c * problem_.pixels, problem_.pixels, &low, &largest[c], &between, &finite);
  }
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return largest[a] < largest[b]; });
  int candidates = 0;
  while (candidates < classes && largest[order[candidates]] <= threshold) candidates++;
  k_.running_sums(problem_.probabilities, problem_.pixels, order.data(), candidates, problem_.clip, sums.data());
  int dropped = 0;
  // What the clip adds to a class that is not there is no reason to keep it.
  while (dropped < candidates && sums[dropped] <= threshold + static_cast<float>(dropped + 1) * problem_.clip) dropped++;
  drop(order, dropped);
}

// Drops the first `number` of `order` (classes), less what fits into the row anyway.
void Context::drop(const std::vector<int> &order, int number) {
  const int all = static_cast<int>(order.size());
  number = std::max(0, all - row_of(std::max(1, all - number)));
  others_.insert(others_.end(), order.begin(), order.begin() + number);
  kept_.assign(order.begin() + number, order.end());
  std::sort(kept_.begin(), kept_.end());
}

// The same after an update, by the sum of the kept classes' largest probabilities, which bounds the sum at a pixel.
void Context::drop_by_sum(const float *largest, float threshold) {
  std::vector<int> order(kept_.size()), classes(kept_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return largest[a] < largest[b]; });
  int number = 0;
  for (float sum = 0; number < static_cast<int>(order.size()); number++) {
    sum += largest[order[number]];
    if (sum > threshold) break;
  }
  for (size_t i = 0; i < order.size(); i++) classes[i] = kept_[order[i]];
  drop(classes, number);
}

// --------------------------------------------------------------------------------------------------------- whole rows

// A lattice's values are the largest part of all memory. A pass that reads one set of them and writes another is faster
// than one that stops halfway and leaves the rows of all pixels behind: two sets are there where they take little more
// than these rows, or where the rows have become so narrow that both fit.
void Context::reserve_values() {
  // Not for a wide row that will be narrow after the first update, nor for the few updates before most pixels are left.
  const bool both = is_small() && !(dropping_ && done_ == 0 && row_ > 8) && problem_.mode != DCRF_FAST;
  room_ = std::max({room_, both ? 2 * row_ : row_, problem_.mode == DCRF_FAST ? 8 : 16});
  fused_ = true;
  for (size_t i = 0; i < filters_.size(); i++) {
    const Filter &filter = *filters()[i];
    if (filter.is_grid) {
      filters_[i]->values.reserve(values_of(*filter.grid) * row_);
      filters_[i]->window.reserve(scratch_of(*filter.grid) * row_);
    } else {
      const size_t room = static_cast<size_t>(filters_[i]->lattice.count) * room_;
      filters_[i]->values.reserve(room);
      fused_ &= 2 * static_cast<size_t>(filter.lattice.count) * row_ <= room;
    }
  }
}

bool Context::is_small() const {
  int64_t count = 0;
  for (const auto &filter : filters_)
    if (!filter->is_grid) count += filter->lattice.count;
  return count <= problem_.pixels + problem_.pixels / 4;
}

// Room for both sets after all, where the fast mode has found that too few pixels are certain to leave any as they are.
// The messages that wait for the next slice stay.
void Context::fuse() {
  if (fused_ || !is_small()) return;
  room_ = std::max(room_, 2 * row_);
  for (auto &filter : filters_) {
    if (filter->is_grid) continue;
    const size_t count = static_cast<size_t>(filter->lattice.count);
    if (filter->values.bytes() < static_cast<int64_t>(sizeof(float) * count * room_)) {
      Buffer<float> before;
      before.swap(filter->values);
      std::memcpy(filter->values.reserve(count * room_), before, sizeof(float) * count * row_);
    }
  }
  fused_ = true;
  source_ = 0;
}

void Context::pack() {
  const int number = static_cast<int>(kept_.size());
  row_ = row_of(number);
  packed_ = false;
  if (!others_.empty())
    k_.transpose(row_, problem_.probabilities, problem_.pixels, kept_.data(), number, others_.data(),
                 static_cast<int>(others_.size()), problem_.clip, nullptr,
                 rest_.reserve(static_cast<size_t>(padded())));
  reserve_values();
}

Pass Context::pass_of(bool slice, bool splat, float *out) {
  Pass pass{};
  pass.pixels = is_active_ ? active_.pixels : problem_.pixels;
  pass.unary = is_active_ ? active_.unary.data() : nullptr;
  pass.scores = problem_.probabilities;
  pass.clip = problem_.clip;
  pass.packed = out || is_active_ ? nullptr : scratch_;
  pass.is_packed = packed_;
  if (!others_.empty()) pass.rest = is_active_ ? active_.rest : rest_;
  pass.slice = slice;
  pass.splat = splat;
  pass.out = out;
  pass.classes = kept_.data();
  pass.kept = static_cast<int>(kept_.size());
  if (out && pass.rest) pass.rest_share = share_.reserve(static_cast<size_t>(padded()));
  return pass;
}

// The pass with the filters first .. last, and the blur of what it splats.
void Context::run(Pass &pass, size_t first, size_t last) {
  if (fused_ || !pass.slice || !pass.splat) return filter(pass, first, last);
  pass.splat = false;
  if (!pass.rows) pass.rows = rows_.reserve(static_cast<size_t>(std::max(padded(), pass.pixels) * row_));
  filter(pass, first, last);
  Pass second = pass_of(false, true, nullptr);
  second.distribution = pass.rows;
  filter(second, first, last);
}

void Context::filter(Pass &pass, size_t first, size_t last) {
  double t = now();
  GridView grid_view;
  for (size_t i = first; i < last; i++) {
    const Filter &filter = *filters()[i];
    float *values = filters_[i]->values;  // those of the active pixels' filters have room there, too
    if (filter.is_grid) {
      grid_view = view_of(*filter.grid, false, values, filters_[i]->window);
      pass.grid = &grid_view;
    } else {
      const size_t second = fused_ ? static_cast<size_t>(filter.lattice.count) * row_ : 0;
      pass.lattice[pass.lattices++] =
          view_of(filter.lattice, values + source_ * second, values + (1 - source_) * second);
    }
  }
  k_.pass(row_, pass);
  packed_ |= pass.packed && !pass.distribution && !pass.messages;
  if (!(pass.largest_sum < kLargestSum)) overflow_ = true;
  if (pass.out && pass.rest)
    k_.restore(problem_.probabilities, problem_.pixels, others_.data(), static_cast<int>(others_.size()), problem_.clip,
               pass.rest_share, pass.out);
  seconds[3] += now() - t, t = now();
  if (!pass.splat) return;
  source_ = 1 - source_;
  for (size_t i = first; i < last; i++) {
    const Filter &filter = *filters()[i];
    const size_t at = fused_ ? source_ * static_cast<size_t>(filter.lattice.count) * row_ : 0;
    if (!filter.is_grid)
      for (int axis = 0; axis < filter.lattice.axes; axis++)
        k_.blur(row_, filters_[i]->values + at, filter.lattice.count, filter.lattice.chains[axis]);
  }
  seconds[4] += now() - t;
}

void Context::start_rows(bool splat, float *out) {
  pack();
  Pass pass = pass_of(false, splat, out);
  run(pass);
}

void Context::update_rows(bool more, bool write, float *out) {
  Pass pass = pass_of(true, more, write && !is_active_ ? out : nullptr);
  if (is_active_) {
    if (write) {
      pass.rows = active_.rows;
      if (pass.rest) pass.rest_share = active_.share;
    }
    run(pass);
    if (write) write_active(out);
  } else if (done_ == 1 && more && dropping_ && row_ > 8) {  // most classes have become unlikely
    maxima_.assign(row_, 0.0f);
    pass.splat = false;
    pass.maxima = maxima_.data();
    pass.rows = rows_.reserve(block_size());
    run(pass);
    const double t = now();
    const std::vector<int> before = kept_;
    std::vector<const float *> columns;
    for (size_t k = 0; k < before.size(); k++) columns.push_back(rows_ + k);
    drop_by_sum(maxima_.data(), problem_.mode == DCRF_FAST ? kFast : kAdaptive);
    narrow(columns, row_, before);
    seconds[5] += now() - t;
  } else if (done_ == kFreeze - 1 && more && dropping_ && problem_.mode == DCRF_FAST) {
    pass.rows = rows_.reserve(block_size());
    pass.certain = certain(problem_);
    run(pass);
    freezing_ = static_cast<double>(pass.found) < kMostActive * static_cast<double>(problem_.pixels);
    if (!freezing_) fuse();
  } else if (done_ == kFreeze && more && freezing_) {
    pass.splat = false;
    pass.out = out;
    pass.packed = scratch_ = nullptr;
    if (pass.rest) pass.rest_share = share_.reserve(static_cast<size_t>(padded()));
    pass.certain = certain(problem_);
    pass.uncertain = active_.found_list.reserve(static_cast<size_t>(padded()));
    pass.uncertain_rows = active_.found_rows.reserve(block_size());
    run(pass);
    active_.found = pass.found;
    const double t = now();
    if (!freeze()) {  // nothing was splatted yet, so the same messages are there
      freezing_ = false;
      fuse();
      pass = pass_of(true, true, write ? out : nullptr);
      run(pass);
    }
    seconds[6] += now() - t;
  } else {
    run(pass);
  }
}

// Goes on with the kept of the classes `before`, whose distribution lies in `columns`: those of `rows_` or of `state_`.
void Context::narrow(const std::vector<const float *> &columns, int64_t stride, const std::vector<int> &before) {
  std::vector<const float *> kept;
  for (const int c : kept_) kept.push_back(columns[std::find(before.begin(), before.end(), c) - before.begin()]);
  const int row = row_of(kept_.size());
  float *rows = rows_.reserve(static_cast<size_t>(padded() * row));  // never wider than what is there: stays in place
  if (kept_ != before)
    k_.select(kept.data(), static_cast<int>(kept.size()), stride, padded(), row, rows);
  pack();
  Pass pass = pass_of(false, true, nullptr);
  pass.distribution = rows;
  run(pass);
}

int Context::advance(int64_t updates, bool last, float *out) {
  if (!started_) {
    started_ = true;
    packed_ = false;
    scratch_ = last ? out : nullptr;
    if (blocked_) {
      start_blocks();
      if (updates == 0) write_blocks(out);
    } else {
      start_rows(!last || updates > 0, updates == 0 ? out : nullptr);
    }
  }
  for (int64_t i = 1; i <= updates; i++) {
    const bool more = !last || i < updates;
    done_++;
    if (blocked_) {
      update_blocks(more, i == updates ? out : nullptr);
    } else {
      update_rows(more, i == updates, out);
      if (overflow_) {  // messages beyond what probabilities times exp(message) can hold: all over, by logarithms
        overflow_ = dropping_ = is_active_ = false;
        blocked_ = true;
        others_.clear();
        kept_.resize(problem_.classes);
        std::iota(kept_.begin(), kept_.end(), 0);
        start_blocks();
        for (int64_t k = 1; k <= done_; k++) update_blocks(false, k == done_ && i == updates ? out : nullptr);
      }
    }
  }
  return DCRF_OK;
}

// ---------------------------------------------------------------------------------------------------- blocks of classes

void Context::start_blocks() {
  row_ = kept_.size() <= 8 ? 8 : kBlockOfClasses;
  float *state = state_.reserve(blocks() * block_size());
  message_.reserve(block_size());
  if (!others_.empty()) {
    rest_.reserve(static_cast<size_t>(padded()));
    share_.reserve(static_cast<size_t>(padded()));
  }
  reserve_values();
  for (int b = 0; b < blocks(); b++) block_energies(b, state + b * block_size());
  k_.softmax_blocks(row_, blocks(), problem_.pixels, others_.empty() ? nullptr : rest_.data(), state, share_, nullptr);
}

// The logarithms of the clipped probabilities of a block's classes, and with the first the sum of the others.
void Context::block_energies(int block, float *to) {
  const int number = std::min<int>(row_, static_cast<int>(kept_.size()) - block * row_);
  k_.transpose(row_, problem_.probabilities, problem_.pixels, kept_.data() + block * row_, number, others_.data(),
               static_cast<int>(others_.size()), problem_.clip, to, block || others_.empty() ? nullptr : rest_.data());
  k_.logarithms(to, static_cast<int64_t>(block_size()));
}

// The filters' messages for a block.
void Context::filter_block(size_t first, size_t last, const float *distribution) {
  const float *scale = filters_[first]->is_grid ? nullptr : filters_[first]->lattice.scale.data();
  Pass pass = pass_of(false, true, nullptr);
  pass.distribution = distribution;
  if (problem_.normalization == DCRF_BEFORE) pass.scale = scale;
  run(pass, first, last);
  pass = pass_of(true, false, nullptr);
  pass.messages = message_;
  if (problem_.normalization == DCRF_AFTER) pass.scale = scale;
  run(pass, first, last);
}

void Context::update_blocks(bool more, float *out) {
  const int number = blocks();
  const size_t size = block_size(), classes = kept_.size();
  bool matrix = false;
  for (const auto &filter : filters_) matrix |= filter->compat_dims == 2;
  float *state = state_, *energy = energy_.reserve(matrix ? number * size : size);
  if (matrix)
    for (int b = 0; b < number; b++) block_energies(b, energy + b * size);
  float scale[kBlockOfClasses], part[kBlockOfClasses * kBlockOfClasses];
  for (int b = 0; b < number; b++) {
    if (!matrix) block_energies(b, energy);
    for (size_t k = 0; k < filters_.size(); k = potts_ ? filters_.size() : k + 1) {
      filter_block(k, potts_ ? filters_.size() : k + 1, state + b * size);
      const Filter &filter = *filters_[k];
      if (filter.compat_dims < 2) {
        for (int c = 0; c < row_; c++) {
          const size_t at = static_cast<size_t>(b) * row_ + c;
          scale[c] = potts_ ? 1 : filter.compat_dims == 0 ? filter.compat[0] : at < classes ? -filter.compat[at] : 0;
        }
        k_.combine(row_, padded(), message_, scale, energy + (matrix ? b * size : 0));
        continue;
      }
      for (int to = 0; to < number; to++) {
        for (int c = 0; c < row_; c++)
          for (int d = 0; d < row_; d++) {
            const size_t from = static_cast<size_t>(b) * row_ + c, into = static_cast<size_t>(to) * row_ + d;
            part[c * row_ + d] = from < classes && into < classes ? -filter.compat[from * classes + into] : 0;
          }
        k_.combine_matrix(row_, padded(), message_, part, energy + to * size);
      }
    }
    if (!matrix) std::memcpy(state + b * size, energy, sizeof(float) * size);
  }
  if (matrix) std::memcpy(state, energy, sizeof(float) * size * number);
  const bool dropping = done_ == 1 && more && dropping_;
  maxima_.assign(static_cast<size_t>(number) * row_, 0.0f);
  k_.softmax_blocks(row_, number, problem_.pixels, others_.empty() ? nullptr : rest_.data(), state, share_,
                    dropping ? maxima_.data() : nullptr);
  if (out) write_blocks(out);
  if (!dropping) return;
  // Most classes have become unlikely: the others may fit into a row now.
  const std::vector<int> before = kept_;
  std::vector<const float *> columns;
  for (size_t k = 0; k < classes; k++) columns.push_back(state + k / row_ * size + k % row_);
  drop_by_sum(maxima_.data(), problem_.mode == DCRF_FAST ? kFast : kAdaptive);
  if (kept_ == before) return;
  if (kept_.size() <= kWidestRow) {
    blocked_ = false;
    narrow(columns, row_, before);
    return;
  }
  std::vector<const float *> kept;
  for (const int c : kept_) kept.push_back(columns[std::find(before.begin(), before.end(), c) - before.begin()]);
  float *fewer = rows_.reserve(blocks() * size);
  for (int b = 0; b < blocks(); b++)
    k_.select(kept.data() + b * row_, std::min<int>(row_, static_cast<int>(kept.size()) - b * row_), row_, padded(),
              row_, fewer + b * size);
  std::memcpy(state, fewer, sizeof(float) * blocks() * size);
}

void Context::write_blocks(float *out) {
  for (int b = 0; b < blocks(); b++)
    k_.write(row_, state_ + b * block_size(), problem_.pixels, kept_.data() + b * row_,
             std::min<int>(row_, static_cast<int>(kept_.size()) - b * row_), out);
  if (!others_.empty())
    k_.restore(problem_.probabilities, problem_.pixels, others_.data(), static_cast<int>(others_.size()), problem_.clip,
               share_, out);
}

int64_t Context::bytes() const {
  int64_t sum = space_.bytes();
  for (const auto *buffer : {&rows_, &rest_, &share_, &state_, &energy_, &message_, &values_, &window_})
    sum += buffer->bytes();
  for (const auto *buffer : {&active_.unary, &active_.rest, &active_.rows, &active_.share, &active_.found_rows})
    sum += buffer->bytes();
  sum += active_.list.bytes() + active_.found_list.bytes() + active_.number.bytes() + active_.touched.bytes() +
         active_.reached.bytes() + active_.leads.bytes() + (active_.grid ? active_.grid->bytes() : 0);
  for (const auto *filters : {&filters_, &active_.filters})
    for (const auto &filter : *filters)
      sum += filter->lattice.bytes() + filter->values.bytes() + filter->window.bytes();
  return sum;
}

}  // namespace dcrf
