// The inner loops. Compiled once for each instruction set: nothing but the table at the end is visible outside, and no
// template of the standard library is used, which the linker might share with code for another processor.

#include "kernels.h"

#include "isa.h"
#include "simd.h"
#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>
#define DCRF_GATHER 1
#endif

void DCRF_NAME(elevate)(const float *, const dcrf::Numbering &, uint64_t *, float *);

namespace {

using dcrf::kBatch;
using dcrf::kBlock;
using dcrf::kEmpty;
using dcrf::kMissing;
using dcrf::Numbering;
using dcrf::Pass;
using dcrf::Table;
using dcrf::GridView;
using dcrf::LatticeView;

// ---------------------------------------------------------------------------------------------------- lattice points

constexpr uint64_t kMix = 0x9e3779b97f4a7c15ull;

ALWAYS_INLINE uint32_t slot_of(uint64_t number, int bits) { return static_cast<uint32_t>(number * kMix >> (64 - bits)); }

template <bool PACKED>
uint32_t insert_batch(const uint64_t *numbers, int axes, int pixels, const Table &table, uint64_t *keys, uint32_t count,
                      uint32_t *points, uint32_t *first_new) {
  uint32_t slots[dcrf::kMaxAxes * kBatch];
  uint64_t *const entries = table.entries;
  const uint32_t mask = static_cast<uint32_t>((1ull << table.bits) - 1);
  for (int k = 0; k < axes * kBatch; k++) {
    slots[k] = slot_of(numbers[k], table.bits);
    __builtin_prefetch(entries + slots[k], 1);
  }
  for (int pixel = 0; pixel < kBatch; pixel++) {
    if (pixel % kBlock == 0) *first_new++ = count;
    if (pixel >= pixels) continue;
    for (int vertex = 0; vertex < axes; vertex++) {
      const uint64_t number = numbers[vertex * kBatch + pixel];
      uint32_t slot = slots[vertex * kBatch + pixel];
      uint32_t point;
      for (;;) {
        const uint64_t entry = entries[slot];
        if (PACKED ? entry >> 24 == number : entry == number) {
          point = PACKED ? static_cast<uint32_t>(entry & 0xffffff) : table.points[slot];
          break;
        }
        if (entry == kEmpty) {
          point = count++;
          keys[point] = number;
          entries[slot] = PACKED ? number << 24 | point : number;
          if (!PACKED) table.points[slot] = point;
          break;
        }
        slot = (slot + 1) & mask;
      }
      points[(pixel / kBlock * axes + vertex) * kBlock + pixel % kBlock] = point;
    }
  }
  return count;
}

uint32_t insert(const uint64_t *numbers, int axes, int pixels, const Table &table, uint64_t *keys, uint32_t count,
                uint32_t *points, uint32_t *first_new) {
  return (table.points ? insert_batch<false> : insert_batch<true>)(numbers, axes, pixels, table, keys, count, points,
                                                                  first_new);
}

template <bool PACKED>
ALWAYS_INLINE uint32_t find(uint64_t number, uint32_t slot, const Table &table, uint32_t missing) {
  const uint32_t mask = static_cast<uint32_t>((1ull << table.bits) - 1);
  for (;;) {
    const uint64_t entry = table.entries[slot];
    if (PACKED ? entry >> 24 == number : entry == number)
      return PACKED ? static_cast<uint32_t>(entry & 0xffffff) : table.points[slot];
    if (entry == kEmpty) return missing;
    slot = (slot + 1) & mask;
  }
}

void neighbours(const uint64_t *keys, uint32_t count, const Numbering &numbering, int axis, const Table &table,
                uint32_t *next) {
  const uint64_t axes = static_cast<uint64_t>(numbering.axes);
  const uint64_t step = numbering.stride[axis] - 1;
  const uint64_t step_of_first = numbering.stride[axis] - numbering.total + axes - 1;
  uint32_t p = 0;
#if defined(DCRF_GATHER)
  if (!table.points) {
    const __m512i mix = _mm512_set1_epi64(static_cast<long long>(kMix));
    const __m512i empty = _mm512_set1_epi64(-1);
    const __m128i shift = _mm_cvtsi32_si128(64 - table.bits);
    // number / axes by a product, exact for numbers below 2^40
    const double inverse = 1.0 / static_cast<double>(axes);
    for (; p + 8 <= count; p += 8) {
      const __m512i key = _mm512_loadu_si512(keys + p);
      const __m512d quotient = _mm512_mul_pd(_mm512_cvtepu64_pd(key), _mm512_set1_pd(inverse));
      // a multiple of `axes` has a quotient within 1e-3 / axes of a whole number, all others are 1 / axes away
      const __m512d away = _mm512_sub_pd(quotient, _mm512_roundscale_pd(quotient, 0));
      const __mmask8 first = _mm512_cmp_pd_mask(_mm512_abs_pd(away), _mm512_set1_pd(0.5 * inverse), _CMP_LT_OQ);
      const __m512i wanted = _mm512_add_epi64(
          key, _mm512_mask_blend_epi64(first, _mm512_set1_epi64(static_cast<long long>(step)),
                                       _mm512_set1_epi64(static_cast<long long>(step_of_first))));
      const __m512i slot = _mm512_srl_epi64(_mm512_mullo_epi64(wanted, mix), shift);
      const __m512i entry = _mm512_i64gather_epi64(slot, table.entries, 8);
      const __mmask8 hit = _mm512_cmpeq_epi64_mask(_mm512_srli_epi64(entry, 24), wanted);
      const __mmask8 none = _mm512_cmpeq_epi64_mask(entry, empty);
      const __m512i point = _mm512_mask_blend_epi64(hit, _mm512_set1_epi64(count),
                                                    _mm512_and_si512(entry, _mm512_set1_epi64(0xffffff)));
      _mm256_storeu_si256(reinterpret_cast<__m256i *>(next + p), _mm512_cvtepi64_epi32(point));
      unsigned open = static_cast<unsigned>(~(hit | none)) & 0xffu;
      if (open) {
        alignas(64) uint64_t numbers[8], slots[8];
        _mm512_store_si512(numbers, wanted);
        _mm512_store_si512(slots, slot);
        for (; open; open &= open - 1) {
          const int lane = __builtin_ctz(open);
          next[p + lane] = find<true>(numbers[lane], static_cast<uint32_t>(slots[lane]), table, count);
        }
      }
    }
  }
#endif
  constexpr int kAhead = 16;
  uint64_t wanted[kAhead];
  while (p < count) {
    const int n = count - p < kAhead ? static_cast<int>(count - p) : kAhead;
    for (int k = 0; k < n; k++) {
      wanted[k] = keys[p + k] + (keys[p + k] % numbering.unit ? step : step_of_first);
      __builtin_prefetch(table.entries + slot_of(wanted[k], table.bits));
    }
    for (int k = 0; k < n; k++) {
      const uint32_t slot = slot_of(wanted[k], table.bits);
      next[p + k] = table.points ? find<false>(wanted[k], slot, table, count) : find<true>(wanted[k], slot, table, count);
    }
    p += static_cast<uint32_t>(n);
  }
}

void chain(const uint32_t *next, uint32_t count, uint8_t *marks, uint32_t *scratch, uint32_t *out, dcrf::Chains *chains) {
  constexpr int kLanes = 16, kSteps = dcrf::kLongest;
  memset(marks, 0, count + 1);
  for (uint32_t p = 0; p < count; p++) marks[next[p]] = 1;
  uint32_t *to[kSteps + 1];
  for (int length = 0; length <= kSteps; length++) to[length] = scratch + static_cast<size_t>(length) * count;
  uint32_t walk[kSteps + 1][kLanes];
  uint32_t p = 0;
  while (p < count) {
    int lanes = 0;
    for (; p < count && lanes < kLanes; p++) {
      walk[0][lanes] = p;
      lanes += !marks[p] && next[p] != count;  // the first of a chain
    }
    for (int lane = lanes; lane < kLanes; lane++) walk[0][lane] = count;
    // All of them at once, so that they do not wait for one another's memory; `count` follows on itself.
    for (int step = 0; step < kSteps; step++)
      for (int lane = 0; lane < kLanes; lane++) walk[step + 1][lane] = next[walk[step][lane]];
    for (int lane = 0; lane < lanes; lane++) {
      int length = 2;
      while (length <= kSteps && walk[length][lane] != count) length++;
      if (length <= kSteps) {
        for (int k = 0; k < length; k++) *to[length]++ = walk[k][lane];
      } else {
        uint32_t at = walk[0][lane];
        while (next[at] != count) {
          *to[0]++ = at;
          at = next[at];
        }
        *to[0]++ = at | dcrf::kEnd;
      }
    }
  }
  for (int length = 0; length <= kSteps; length++) {
    const uint32_t *from = scratch + static_cast<size_t>(length) * count;
    const size_t entries = static_cast<size_t>(to[length] - from);
    memcpy(out, from, entries * sizeof(uint32_t));
    chains->points[length] = out;
    chains->chains[length] = static_cast<uint32_t>(length ? entries / static_cast<size_t>(length) : entries);
    out += entries;
  }
}

void spread(const dcrf::Chains &chains, uint32_t count, int from, int to, uint8_t *marks) {
  for (uint32_t p = 0; p < count; p++) marks[p] = static_cast<uint8_t>(marks[p] | (marks[p] >> from & 1u) << to);
  const auto both = [&](uint32_t a, uint32_t b) {
    const unsigned either = (marks[a] | marks[b]) >> from & 1u;
    marks[a] = static_cast<uint8_t>(marks[a] | either << to);
    marks[b] = static_cast<uint8_t>(marks[b] | either << to);
  };
  for (int length = 2; length <= dcrf::kLongest; length++) {
    const uint32_t *points = chains.points[length];
    for (uint32_t chain = 0; chain < chains.chains[length]; chain++, points += length)
      for (int k = 0; k + 1 < length; k++) both(points[k], points[k + 1]);
  }
  const uint32_t *points = chains.points[0];
  for (uint32_t k = 0; k + 1 < chains.chains[0]; k++)
    if (!(points[k] & dcrf::kEnd)) both(points[k], points[k + 1] & ~dcrf::kEnd);
}

// ---------------------------------------------------------------------------------- one channel, for the row sums of K

void splat_one(const uint32_t *points, const float *weights, int axes, int64_t blocks, float *target) {
  for (int64_t k = 0; k < blocks * axes * kBlock; k++) target[points[k]] += weights[k];
}

void slice_one(const uint32_t *points, const float *weights, int axes, int64_t blocks, const float *source, float *out) {
  for (int64_t block = 0; block < blocks; block++, out += kBlock) {
    for (int i = 0; i < kBlock; i++) out[i] = 0;
    for (int vertex = 0; vertex < axes; vertex++, points += kBlock, weights += kBlock)
      for (int i = 0; i < kBlock; i++) out[i] += weights[i] * source[points[i]];
  }
}

void scale_weights(float *weights, int axes, int64_t blocks, const float *scale) {
  for (int64_t block = 0; block < blocks; block++, scale += kBlock)
    for (int vertex = 0; vertex < axes; vertex++, weights += kBlock)
      for (int i = 0; i < kBlock; i++) weights[i] *= scale[i];
}

// ------------------------------------------------------------------------------------------------------------- blur

constexpr int kAhead = 24;  // entries whose rows are fetched ahead

template <int R, int LENGTH>
void blur_chains(float *values, const uint32_t *points, uint32_t chains) {
  for (uint32_t chain = 0; chain < chains; chain++, points += LENGTH) {
    const bool more = chain + kAhead / LENGTH + 1 < chains;
    Row<R> x[LENGTH];
    for (int k = 0; k < LENGTH; k++) {
      if (more) __builtin_prefetch(values + static_cast<size_t>(points[k + kAhead / LENGTH * LENGTH]) * R, 1);
      x[k] = Row<R>::from(values + static_cast<size_t>(points[k]) * R);
    }
    for (int k = 0; k < LENGTH; k++) {
      Row<R> sum = k == 0 ? x[1] : x[k - 1];
      if (k > 0 && k < LENGTH - 1) sum.add(x[k + 1]);
      sum.multiply(0.5f);
      sum.add(x[k]);
      sum.to(values + static_cast<size_t>(points[k]) * R);
    }
  }
}

template <int R>
void blur_long(float *values, const uint32_t *points, uint32_t entries) {
  Row<R> before = Row<R>::fill(0);
  if (!entries) return;
  Row<R> here = Row<R>::from(values + static_cast<size_t>(points[0]) * R);
  for (uint32_t k = 0; k < entries; k++) {
    const bool last = points[k] & dcrf::kEnd;
    Row<R> after = Row<R>::fill(0);
    if (k + 1 < entries) after = Row<R>::from(values + static_cast<size_t>(points[k + 1] & ~dcrf::kEnd) * R);
    Row<R> sum = before;
    if (!last) sum.add(after);
    sum.multiply(0.5f);
    sum.add(here);
    sum.to(values + static_cast<size_t>(points[k] & ~dcrf::kEnd) * R);
    before = last ? Row<R>::fill(0) : here;
    here = after;
  }
}

template <int R>
void blur_segment(float *values, const dcrf::Chains &chains) {
  blur_chains<R, 2>(values, chains.points[2], chains.chains[2]);
  blur_chains<R, 3>(values, chains.points[3], chains.chains[3]);
  blur_chains<R, 4>(values, chains.points[4], chains.chains[4]);
  blur_chains<R, 5>(values, chains.points[5], chains.chains[5]);
  blur_chains<R, 6>(values, chains.points[6], chains.chains[6]);
  blur_chains<R, 7>(values, chains.points[7], chains.chains[7]);
  blur_chains<R, 8>(values, chains.points[8], chains.chains[8]);
  blur_long<R>(values, chains.points[0], chains.chains[0]);
}

void blur(int row, float *values, size_t count, const dcrf::Chains &chains) {
  if (row == 1) return blur_segment<1>(values, chains);
  for (; row >= 16; row -= 16, values += 16 * count) blur_segment<16>(values, chains);
  if (row) blur_segment<8>(values, chains);
}

// ------------------------------------------------------------------------------------------------------- pixel passes

// Channel K of R of a point lies in segment K / 16.
template <int R, int K>
ALWAYS_INLINE size_t place(size_t count, uint32_t point) {
  constexpr int start = K / 16 * 16, width = R - start >= 16 ? 16 : 8;
  return start * count + static_cast<size_t>(point) * width + (K - start);
}

template <int R, int K = 0>
ALWAYS_INLINE void add_point(Row<R - K> &row, float weight, const float *values, size_t count, uint32_t point) {
  constexpr int W = Row<R - K>::W;
  row.head += weight * load<W>(values + place<R, K>(count, point));
  if constexpr (K + W < R) add_point<R, K + W>(row.tail, weight, values, count, point);
}

template <int R, int K = 0>
ALWAYS_INLINE void add_to_point(const Row<R - K> &row, float weight, float *values, size_t count, uint32_t point) {
  constexpr int W = Row<R - K>::W;
  float *at = values + place<R, K>(count, point);
  store<W>(at, load<W>(at) + weight * row.head);
  if constexpr (K + W < R) add_to_point<R, K + W>(row.tail, weight, values, count, point);
}

template <int R, int AXES>
ALWAYS_INLINE void slice_eight(const LatticeView &view, int64_t pixels, int64_t block, int half, Row<R> *x) {
  const int axes = AXES ? AXES : view.axes;
  const uint32_t *points = view.points + block * axes * kBlock + half * 8;
  const float *weights = view.weights + block * axes * kBlock + half * 8;
  // The rows of the next block are fetched meanwhile.
  const int next = (block + 1) * kBlock < pixels ? axes * kBlock : 0;
  for (int i = 0; i < 8; i++) {
    for (int vertex = 0; vertex < axes; vertex++) {
      const uint32_t ahead = points[next + vertex * kBlock + i];
      __builtin_prefetch(view.source + place<R, 0>(view.count, ahead));
      if constexpr (R > 16) __builtin_prefetch(view.source + place<R, 16>(view.count, ahead));
    }
    Row<R> sum = x[i];
    for (int vertex = 0; vertex < axes; vertex++)
      add_point<R>(sum, weights[vertex * kBlock + i], view.source, view.count, points[vertex * kBlock + i]);
    x[i] = sum;
  }
}

template <int R, int AXES>
ALWAYS_INLINE void splat_eight(const LatticeView &view, int64_t block, int half, const Row<R> *x) {
  const int axes = AXES ? AXES : view.axes;
  const uint32_t *points = view.points + block * axes * kBlock + half * 8;
  const float *weights = view.weights + block * axes * kBlock + half * 8;
  for (int i = 0; i < 8; i++) {
    const Row<R> row = x[i];
    for (int vertex = 0; vertex < axes; vertex++)
      add_to_point<R>(row, weights[vertex * kBlock + i], view.target, view.count, points[vertex * kBlock + i]);
  }
}

template <int R>
void zero_new(const LatticeView &view, int64_t block) {
  const size_t first = view.first_new[block], number = view.first_new[block + 1] - first;
  for (int start = 0; start < R; start += 16) {
    const int width = R - start >= 16 ? 16 : 8;
    memset(view.target + start * view.count + first * width, 0, sizeof(float) * width * number);
  }
}

// The window of splatted rows of the position lattice, and their way through the three blurs.
template <int R>
class Window {
 public:
  explicit Window(const GridView &grid) : g_(grid), size_(static_cast<size_t>(grid.pitch) * R) {
    if (!grid.scratch) return;
    splatted_ = grid.scratch;
    memset(splatted_, 0, sizeof(float) * size_ * grid.window);
    first_ = splatted_ + size_ * grid.window;
    second_ = first_ + 4 * size_;
    zero_ = second_ + 8 * size_;
    memset(zero_, 0, sizeof(float) * size_);
  }

  // Where the rows from `base` on lie, with room up to `top`.
  float *rows(int base, int top) {
    if (top > start_ + g_.window) {
      const int start = next_ - 4, kept = start_ + g_.window - start;
      memmove(splatted_, splatted_ + size_ * (start - start_), sizeof(float) * size_ * kept);
      memset(splatted_ + size_ * kept, 0, sizeof(float) * size_ * (g_.window - kept));
      start_ = start;
    }
    return splatted_ + size_ * (base - start_);
  }

  // Rows below `complete` are splatted.
  void advance(int complete) {
    for (; next_ < complete; next_++) {
      rows(next_, next_ + 1);
      if (g_.transposed) {
        stage<0, 2>(next_ - 2);
        stage<1, 1>(next_ - 3);
        stage<2, 0>(next_ - 4);
      } else {
        stage<0, 0>(next_ - 1);
        stage<1, 1>(next_ - 2);
        stage<2, 2>(next_ - 4);
      }
    }
  }

 private:
  template <int STAGE>
  const float *at(int row) {
    if (row < 0 || row >= g_.rows) return zero_;
    return STAGE == 0 ? splatted_ + size_ * (row - start_) : STAGE == 1 ? first_ + size_ * (row & 3)
                                                                        : second_ + size_ * (row & 7);
  }

  template <int STAGE, int AXIS>
  void stage(int row) {
    if (row < 0 || row >= g_.rows) return;
    constexpr int kStep = AXIS == 2 ? 2 : 1;
    const int odd = row & 1, low = g_.low[row], high = g_.high[row];
    const int after = AXIS == 0 ? odd - 1 : AXIS == 1 ? odd : 0, before = AXIS == 0 ? odd : AXIS == 1 ? odd - 1 : 0;
    float *out = STAGE == 0 ? first_ + size_ * (row & 3) : STAGE == 1 ? second_ + size_ * (row & 7)
                                                                      : g_.values + size_ * row;
    const float *here = at<STAGE>(row) + low * R, *a = at<STAGE>(row + kStep) + (low + after) * R,
                *b = at<STAGE>(row - kStep) + (low + before) * R;
    constexpr int W = kWidest < 8 ? kWidest : 8;
    float *to = out + low * R;
    const int number = (high - low) * R;
    int k = 0;
    for (; k + kWidest <= number; k += kWidest)
      store<kWidest>(to + k, load<kWidest>(here + k) + 0.5f * (load<kWidest>(a + k) + load<kWidest>(b + k)));
    for (; k < number; k += W) store<W>(to + k, load<W>(here + k) + 0.5f * (load<W>(a + k) + load<W>(b + k)));
    if (STAGE < 2) {
      memset(out, 0, sizeof(float) * low * R);
      memset(out + high * R, 0, sizeof(float) * (g_.pitch - high) * R);
    }
  }

  const GridView &g_;
  const size_t size_;
  float *splatted_ = nullptr, *first_ = nullptr, *second_ = nullptr, *zero_ = nullptr;
  int start_ = -2, next_ = 0;
};

template <int R>
ALWAYS_INLINE void slice_eight(const GridView &grid, int64_t pixels, int64_t block, int half, Row<R> *x) {
  const uint16_t *points = grid.points + block * 3 * kBlock + half * 8;
  const float *weights = grid.weights + block * 3 * kBlock + half * 8;
  const size_t row = static_cast<size_t>(grid.pitch) * R;
  const float *values = grid.values + grid.base[block] * row;
  // The rows of the next block are fetched meanwhile; neighbouring pixels share them.
  const int next = (block + 1) * kBlock < pixels;
  const float *later = grid.values + grid.base[block + next] * row;
  const uint16_t *points_later = points + next * 3 * kBlock;
  for (int i = 0; i < 8; i++) {
    for (int vertex = 0; vertex < 3 && i % 2 == 0; vertex++) {
      const float *ahead = later + static_cast<size_t>(points_later[vertex * kBlock + i]) * R;
      __builtin_prefetch(ahead);
      if constexpr (R > 16) __builtin_prefetch(ahead + 16);
    }
    Row<R> sum = x[i];
    for (int vertex = 0; vertex < 3; vertex++)
      sum.add(weights[vertex * kBlock + i], values + static_cast<size_t>(points[vertex * kBlock + i]) * R);
    x[i] = sum;
  }
}

template <int R>
ALWAYS_INLINE void splat_eight(const GridView &grid, float *rows, int64_t block, int half, const Row<R> *x) {
  const uint16_t *points = grid.points + block * 3 * kBlock + half * 8;
  const float *weights = grid.weights + block * 3 * kBlock + half * 8;
  for (int i = 0; i < 8; i++) {
    const Row<R> row = x[i];
    for (int vertex = 0; vertex < 3; vertex++)
      row.add_to(weights[vertex * kBlock + i], rows + static_cast<size_t>(points[vertex * kBlock + i]) * R);
  }
}

ALWAYS_INLINE f8 clipped(f8 p, float clip) {
  p = p < f8{} + clip ? f8{} + clip : p;
  return p > f8{} + 1.0f ? f8{} + 1.0f : p;
}

ALWAYS_INLINE f8 load_some(const float *from, int64_t left) {
  if (left >= 8) return load<8>(from);
  float values[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  for (int64_t i = 0; i < left; i++) values[i] = from[i];
  return load<8>(values);
}

// Eight pixels of the clipped scores of `kept` classes: rows [8][R], zeros beyond `number`.
template <int R>
ALWAYS_INLINE void transpose_eight(const float *scores, int64_t pixels, int64_t pixel, const int *kept, int number,
                                   float clip, float *rows) {
  const int64_t left = pixels - pixel;
  for (int c = 0; c < R; c += 8) {
    f8 part[8];
    for (int k = 0; k < 8; k++)
      part[k] = c + k < number ? clipped(load_some(scores + kept[c + k] * pixels + pixel, left), clip) : f8{};
    transpose(part);
    for (int i = 0; i < 8; i++) store<8>(rows + i * R + c, part[i]);
  }
}

// Eight pixels of out[classes[k]][pixel].
template <int R>
ALWAYS_INLINE void write_eight(const Row<R> *x, int64_t pixel, int64_t pixels, const int *classes, int kept, float *out) {
  alignas(64) float buffer[8][R];
  for (int i = 0; i < 8; i++) x[i].to(buffer[i]);
  const int64_t left = pixels - pixel;
  for (int c = 0; c < kept; c += 8) {
    f8 part[8];
    for (int i = 0; i < 8; i++) part[i] = load<8>(buffer[i] + c);
    transpose(part);
    const int number = kept - c < 8 ? kept - c : 8;
    for (int k = 0; k < number; k++) {
      float *to = out + classes[c + k] * pixels + pixel;
      if (left >= 8) {
        store<8>(to, part[k]);
      } else {
        float last[8];
        store<8>(last, part[k]);
        for (int64_t i = 0; i < left; i++) to[i] = last[i];
      }
    }
  }
}

template <int R, bool GRID, int AXES>
void fused(Pass &pass) {
  const int64_t blocks = (pass.pixels + kBlock - 1) / kBlock;
  Row<R> maxima = Row<R>::fill(0);
  f8 largest = f8{};
  alignas(64) float there[R];  // which columns are classes
  for (int k = 0; k < R; k++) there[k] = k < pass.kept;
  const GridView none{};
  Window<R> window(GRID && pass.splat ? *pass.grid : none);
  for (int64_t block = 0; block < blocks; block++) {
    float *grid_rows = nullptr;
    if (pass.splat) {
      for (int k = 0; k < pass.lattices; k++) zero_new<R>(pass.lattice[k], block);
      if (GRID) grid_rows = window.rows(pass.grid->base[block], pass.grid->top[block]);
    }
    alignas(64) float block_unary[kBlock * R];
    const float *unary = pass.unary ? pass.unary + block * kBlock * R : block_unary;
    const bool inside = pass.packed && (block + 1) * kBlock + 8 <= pass.pixels;  // a row's end lies in later pixels
    float *packed = inside ? pass.packed + block * kBlock * pass.kept : nullptr;
    const bool is_packed = packed && pass.is_packed;
    if (!pass.unary && !is_packed && !pass.distribution && !pass.messages) {
      // More streams than a processor fetches ahead by itself.
      for (int k = 0; k < pass.kept; k++)
        __builtin_prefetch(pass.scores + pass.classes[k] * pass.pixels + (block + 12) * kBlock);
      for (int half = 0; half < kBlock / 8; half++)
        transpose_eight<R>(pass.scores, pass.pixels, block * kBlock + half * 8, pass.classes, pass.kept, pass.clip,
                           block_unary + half * 8 * R);
      if (packed)
        for (int i = 0; i < kBlock; i++) Row<R>::from(block_unary + i * R).to(packed + i * pass.kept);
    }
    const int stride = is_packed ? pass.kept : R;
    if (is_packed) unary = packed;
    for (int half = 0; half < kBlock / 8; half++) {
      const int64_t pixel = block * kBlock + half * 8;
      Row<R> x[8];
      f8 inverses = f8{}, folded[8];
      if (pass.distribution) {
        for (int i = 0; i < 8; i++) x[i] = Row<R>::from(pass.distribution + (pixel + i) * R);
        if (pass.scale)
          for (int i = 0; i < 8; i++) x[i].multiply(pass.scale[pixel + i]);
      } else {
        for (int i = 0; i < 8; i++) x[i] = Row<R>::fill(0);
        if (pass.slice) {
          if (GRID) slice_eight<R>(*pass.grid, pass.pixels, block, half, x);
          if (AXES || pass.lattices > 0) slice_eight<R, AXES>(pass.lattice[0], pass.pixels, block, half, x);
          if (!AXES && pass.lattices > 1) slice_eight<R, AXES>(pass.lattice[1], pass.pixels, block, half, x);
          if (pass.messages) {
            for (int i = 0; i < 8; i++) {
              if (pass.scale) x[i].multiply(pass.scale[pixel + i]);
              x[i].to(pass.messages + (pixel + i) * R);
            }
            continue;
          }
          for (int i = 0; i < 8; i++) {
            x[i].exponentiate_positive();
            x[i].multiply(unary + (half * 8 + i) * stride);
            if (is_packed) x[i].multiply(there);
          }
        } else {
          for (int i = 0; i < 8; i++) {
            x[i] = Row<R>::from(unary + (half * 8 + i) * stride);
            if (is_packed) x[i].multiply(there);
          }
        }
        for (int i = 0; i < 8; i++) folded[i] = fold<Sum>(x[i]);
        f8 sum = reduce<Sum>(folded);
        if (pass.rest) sum += load<8>(pass.rest + pixel);
        largest = largest > sum ? largest : sum;
        alignas(32) float inverse[8];
        inverses = 1.0f / sum;
        store<8>(inverse, inverses);
        for (int i = 0; i < 8; i++) x[i].multiply(inverse[i]);
      }
      if (pass.splat) {
        if (GRID) splat_eight<R>(*pass.grid, grid_rows, block, half, x);
        if (AXES || pass.lattices > 0) splat_eight<R, AXES>(pass.lattice[0], block, half, x);
        if (!AXES && pass.lattices > 1) splat_eight<R, AXES>(pass.lattice[1], block, half, x);
      }
      if (pass.certain > 0) {
        for (int i = 0; i < 8; i++) folded[i] = fold<Max>(x[i]);
        f8 top = reduce<Max>(folded);
        if (pass.rest) {
          const f8 others = load<8>(pass.rest + pixel) * inverses;
          top = top > others ? top : others;
        }
        for (int i = 0; i < 8; i++)
          if (top[i] < pass.certain && pixel + i < pass.pixels) {
            if (pass.uncertain) {
              pass.uncertain[pass.found] = static_cast<int32_t>(pixel + i);
              x[i].to(pass.uncertain_rows + pass.found * R);
            }
            pass.found++;
          }
      }
      if (pass.maxima)
        for (int i = 0; i < 8; i++)
          if (pixel + i < pass.pixels) maxima.raise_to(x[i]);
      if (pass.rows)
        for (int i = 0; i < 8; i++) x[i].to(pass.rows + (pixel + i) * R);
      if (pass.out) {
        write_eight<R>(x, pixel, pass.pixels, pass.classes, pass.kept, pass.out);
        }
      if (pass.rest_share) store<8>(pass.rest_share + pixel, inverses);
    }
    if (GRID && pass.splat) window.advance(pass.grid->complete[block]);
  }
  if (GRID && pass.splat) window.advance(pass.grid->rows + 4);
  if (pass.maxima) maxima.to(pass.maxima);
  float each[8];
  store<8>(each, largest);
  pass.largest_sum = each[0];
  for (float sum : each) pass.largest_sum = sum > pass.largest_sum || !(sum < 3e38f) ? sum : pass.largest_sum;
}

template <int R>
void pass_of(Pass &pass) {
  if (pass.grid && pass.lattices == 1 && pass.lattice[0].axes == 6)
    fused<R, true, 6>(pass);
  else if (pass.grid)
    fused<R, true, 0>(pass);
  else if (pass.lattices == 1 && pass.lattice[0].axes == 6)
    fused<R, false, 6>(pass);
  else
    fused<R, false, 0>(pass);
}

bool pass(int row, Pass &pass) {
  switch (row) {
    case 8: pass_of<8>(pass); break;
    case 16: pass_of<16>(pass); break;
    case 24: pass_of<24>(pass); break;
    case 32: pass_of<32>(pass); break;
    default: return false;
  }
  return true;
}

// ------------------------------------------------------------------------------------------------------------- scores

void scan(const float *scores, int64_t count, float *low, float *high, int64_t *between, bool *finite) {
  constexpr int W = kWidest;
  using F = Vec<W>::f;
  using I = Vec<W>::i;
  F lowest = F{} + scores[0], highest = lowest, nothing = F{};
  int64_t number = 0;
  int64_t i = 0;
  while (i + W <= count) {
    const int64_t end = count - i < (1 << 20) ? count : i + (1 << 20);
    I inner = I{};
    for (; i + W <= end; i += W) {
      const F x = load<W>(scores + i);
      lowest = smaller<W>(x, lowest);
      highest = larger<W>(x, highest);
      nothing += x * 0.0f;  // NaN where x is no number
      inner += (x != 0.0f) & (x != 1.0f);
    }
    for (int k = 0; k < W; k++) number -= inner[k];
  }
  float l = lowest[0], h = highest[0];
  bool fine = true;
  for (int k = 0; k < W; k++) {
    l = lowest[k] < l ? lowest[k] : l;
    h = highest[k] > h ? highest[k] : h;
    fine &= nothing[k] == 0.0f;
  }
  for (; i < count; i++) {
    const float x = scores[i];
    l = x < l ? x : l;
    h = x > h ? x : h;
    fine &= x * 0.0f == 0.0f;
    number += x != 0.0f && x != 1.0f;
  }
  *low = l;
  *high = h;
  *between = number;
  *finite = fine;
}

template <int R>
void transpose_rows(const float *scores, int64_t pixels, const int *kept, int number, const int *others, int other_number,
                    float clip, float *rows, float *rest) {
  const int64_t padded = (pixels + kBlock - 1) / kBlock * kBlock;
  for (int64_t pixel = 0; pixel < padded; pixel += 8) {
    const int64_t left = pixels - pixel;
    if (rows) transpose_eight<R>(scores, pixels, pixel, kept, number, clip, rows + pixel * R);
    if (rest) {
      f8 sum = f8{};
      for (int k = 0; k < other_number; k++)
        sum += clipped(load_some(scores + others[k] * pixels + pixel, left), clip);
      store<8>(rest + pixel, sum);
    }
  }
}

void transpose_scores(int row, const float *scores, int64_t pixels, const int *kept, int number, const int *others,
                      int other_number, float clip, float *rows, float *rest) {
  switch (row) {
    case 8: return transpose_rows<8>(scores, pixels, kept, number, others, other_number, clip, rows, rest);
    case 16: return transpose_rows<16>(scores, pixels, kept, number, others, other_number, clip, rows, rest);
    case 24: return transpose_rows<24>(scores, pixels, kept, number, others, other_number, clip, rows, rest);
    default: return transpose_rows<32>(scores, pixels, kept, number, others, other_number, clip, rows, rest);
  }
}

void running_sums(const float *scores, int64_t pixels, const int *order, int number, float clip, float *sums) {
  constexpr int kPart = 512;
  for (int k = 0; k < number; k++) sums[k] = 0;
  for (int64_t start = 0; start < pixels; start += kPart) {
    const int64_t n = pixels - start < kPart ? pixels - start : kPart;
    float sum[kPart + 8] = {};
    for (int k = 0; k < number; k++) {
      const float *from = scores + order[k] * pixels + start;
      f8 largest = f8{};
      for (int64_t i = 0; i < n; i += 8) {
        f8 p = load<8>(sum + i);
        if (n - i >= 8) {
          p += clipped(load<8>(from + i), clip);
        } else {
          for (int64_t j = 0; j < n - i; j++) p[j] += from[i + j] > clip ? from[i + j] : clip;
        }
        store<8>(sum + i, p);
        largest = largest > p ? largest : p;
      }
      for (int j = 0; j < 8; j++) sums[k] = largest[j] > sums[k] ? largest[j] : sums[k];
    }
  }
}

void softmax(const float *logits, int64_t pixels, int classes, float *out) {
  for (int64_t pixel = 0; pixel < pixels; pixel += 8) {
    const int64_t left = pixels - pixel;
    f8 largest = load_some(logits + pixel, left), sum = f8{};
    for (int c = 1; c < classes; c++) {
      const f8 x = load_some(logits + c * pixels + pixel, left);
      largest = largest > x ? largest : x;
    }
    for (int c = 0; c < classes; c++) {
      f8 x = load_some(logits + c * pixels + pixel, left) - largest;
      x = x < -87.0f ? f8{} - 87.0f : x;
      x = exponential<8>(x);
      sum += x;
      float *to = out + c * pixels + pixel;
      if (left >= 8)
        store<8>(to, x);
      else
        for (int64_t i = 0; i < left; i++) to[i] = x[i];
    }
    const f8 inverse = 1.0f / sum;
    for (int c = 0; c < classes; c++) {
      float *to = out + c * pixels + pixel;
      if (left >= 8)
        store<8>(to, load<8>(to) * inverse);
      else
        for (int64_t i = 0; i < left; i++) to[i] *= inverse[i];
    }
  }
}

void select(const float *const *columns, int number, int64_t stride, int64_t pixels, int row, float *out) {
  for (int64_t pixel = 0; pixel < pixels; pixel++, out += row) {
    for (int k = 0; k < number; k++) out[k] = columns[k][pixel * stride];
    for (int k = number; k < row; k++) out[k] = 0;
  }
}

void restore(const float *scores, int64_t pixels, const int *others, int number, float clip, const float *share,
             float *out) {
  for (int64_t pixel = 0; pixel < pixels; pixel += 8) {
    const int64_t left = pixels - pixel;
    const f8 scale = load<8>(share + pixel);
    for (int k = 0; k < number; k++) {
      const f8 q = clipped(load_some(scores + others[k] * pixels + pixel, left), clip) * scale;
      float *to = out + others[k] * pixels + pixel;
      if (left >= 8)
        store<8>(to, q);
      else
        for (int64_t i = 0; i < left; i++) to[i] = q[i];
    }
  }
}

// ------------------------------------------------------------------------------------ blocks of classes, any compatibility

void logarithms(float *x, int64_t count) {
  for (int64_t i = 0; i < count; i += 8) {
    const f8 value = load<8>(x + i);
    store<8>(x + i, value > 0.0f ? logarithm<8>(value) : f8{} - 1e30f);
  }
}

template <int R>
void combine_rows(int64_t pixels, const float *message, const float *scale, float *x) {
  for (int64_t pixel = 0; pixel < pixels; pixel++) {
    Row<R> sum = Row<R>::from(x + pixel * R);
    sum.add_scaled(scale, Row<R>::from(message + pixel * R));
    sum.to(x + pixel * R);
  }
}

void combine(int row, int64_t pixels, const float *message, const float *scale, float *x) {
  (row == 8 ? combine_rows<8> : combine_rows<16>)(pixels, message, scale, x);
}

template <int R>
void combine_matrix_rows(int64_t pixels, const float *message, const float *matrix, float *x) {
  for (int64_t pixel = 0; pixel < pixels; pixel++) {
    Row<R> sum = Row<R>::from(x + pixel * R);
    for (int k = 0; k < R; k++) sum.add(message[pixel * R + k], matrix + k * R);
    sum.to(x + pixel * R);
  }
}

void combine_matrix(int row, int64_t pixels, const float *message, const float *matrix, float *x) {
  (row == 8 ? combine_matrix_rows<8> : combine_matrix_rows<16>)(pixels, message, matrix, x);
}

template <int R>
void softmax_rows(int blocks, int64_t pixels, const float *rest, float *x, float *share, float *maxima) {
  const int64_t padded = (pixels + kBlock - 1) / kBlock * kBlock;
  for (int64_t pixel = 0; pixel < padded; pixel += 8) {
    f8 folded[8];
    for (int i = 0; i < 8; i++) {
      Row<R> most = Row<R>::from(x + (pixel + i) * R);
      for (int b = 1; b < blocks; b++) most.raise_to(Row<R>::from(x + (b * padded + pixel + i) * R));
      folded[i] = fold<Max>(most);
    }
    f8 largest = reduce<Max>(folded), others = f8{};
    if (rest) {
      others = logarithm<8>(load<8>(rest + pixel));
      largest = largest > others ? largest : others;
    }
    alignas(32) float peak[8], inverse[8];
    store<8>(peak, largest);
    for (int i = 0; i < 8; i++) {
      Row<R> sum = Row<R>::fill(0);
      for (int b = 0; b < blocks; b++) {
        float *at = x + (b * padded + pixel + i) * R;
        Row<R> row = Row<R>::from(at);
        row.subtract(peak[i]);
        row.exponentiate();
        row.to(at);
        sum.add(row);
      }
      folded[i] = fold<Sum>(sum);
    }
    f8 sum = reduce<Sum>(folded);
    if (rest) {
      f8 away = others - largest;
      sum += exponential<8>(away < -87.0f ? f8{} - 87.0f : away);
    }
    const f8 inverses = 1.0f / sum;
    store<8>(inverse, inverses);
    if (rest) {
      f8 down = f8{} - largest;
      store<8>(share + pixel, inverses * exponential<8>(down < -87.0f ? f8{} - 87.0f : down));
    }
    for (int b = 0; b < blocks; b++) {
      Row<R> most = Row<R>::fill(0);
      for (int i = 0; i < 8; i++) {
        float *at = x + (b * padded + pixel + i) * R;
        Row<R> row = Row<R>::from(at);
        row.multiply(inverse[i]);
        row.to(at);
        if (maxima && pixel + i < pixels) most.raise_to(row);
      }
      if (maxima) {
        most.raise_to(Row<R>::from(maxima + b * R));
        most.to(maxima + b * R);
      }
    }
  }
}

void softmax_blocks(int row, int blocks, int64_t pixels, const float *rest, float *x, float *share, float *maxima) {
  (row == 8 ? softmax_rows<8> : softmax_rows<16>)(blocks, pixels, rest, x, share, maxima);
}

void discount(float *x, const float *messages, int64_t count) {
  for (int64_t i = 0; i < count; i += 8) {
    f8 m = f8{} - load<8>(messages + i);
    store<8>(x + i, load<8>(x + i) * exponential<8>(m < -87.0f ? f8{} - 87.0f : m));
  }
}

template <int R>
void write_rows(const float *rows, int64_t pixels, const int *classes, int number, float *out) {
  for (int64_t pixel = 0; pixel < pixels; pixel += 8) {
    Row<R> x[8];
    for (int i = 0; i < 8; i++) x[i] = Row<R>::from(rows + (pixel + i) * R);
    write_eight<R>(x, pixel, pixels, classes, number, out);
  }
}

void write(int row, const float *rows, int64_t pixels, const int *classes, int number, float *out) {
  (row == 8 ? write_rows<8> : write_rows<16>)(rows, pixels, classes, number, out);
}

#define DCRF_TEXT(x) #x
#define DCRF_STRING(x) DCRF_TEXT(x)

const dcrf::Kernels table = {DCRF_STRING(DCRF_ISA), DCRF_NAME(elevate), insert, neighbours, chain, spread, splat_one,
                             slice_one, scale_weights, blur, pass, scan, transpose_scores, running_sums, softmax,
                             select, restore, logarithms, combine, combine_matrix, softmax_blocks, discount, write};

}  // namespace

namespace dcrf {
const Kernels *DCRF_PASTE(DCRF_ISA, kernels)() { return &table; }
}  // namespace dcrf
