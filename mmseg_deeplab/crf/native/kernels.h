// The inner loops, compiled once for each instruction set; plain pointers only, all memory is the caller's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dcrf {

constexpr int kMaxAxes = 33;  // d + 1
constexpr int kBlock = 16;    // pixels whose vertices lie together: points[block][vertex][16]
constexpr int kBatch = 64;    // pixels of one call of `elevate` and `insert`
constexpr uint32_t kMissing = 0xffffffffu;
constexpr uint64_t kEmpty = ~0ull;

// How cells are numbered: a lattice point is sum over its axes of (cell - low) * stride, plus its remainder; strides are
// multiples of `unit`, so that its multiples are the points of remainder 0.
struct Numbering {
  int axes;
  uint64_t unit;
  int32_t low[kMaxAxes];
  uint64_t stride[kMaxAxes];
  uint64_t total;  // of the strides
};

// Open addressing with linear probing; packed: number of the cell << 24 | number of the point.
struct Table {
  uint64_t *entries;
  uint32_t *points;  // of the unpacked form, else null
  int bits;
};

// Values of a lattice's points in segments of 16 channels, and one of 8 where the row needs it:
// [segment][points][16 or 8]. A segment is what the blur works on, small enough for the last cache.

// The chains of neighbours along one axis, those of equal length together: points[length] holds chains[length] of them
// for the lengths 2 to kLongest; at [0] longer ones, whose last points are marked by kEnd, chains[0] entries in all.
constexpr int kLongest = 8;
constexpr uint32_t kEnd = 0x80000000u;
struct Chains {
  const uint32_t *points[kLongest + 1];
  uint32_t chains[kLongest + 1];
};

// A lattice as the passes read it. Blocks of 16 pixels; pixels beyond the last have weight 0 and point 0.
struct LatticeView {
  int axes;
  size_t count;              // of points
  const uint32_t *points;    // [blocks][axes][16]
  const float *weights;      // [blocks][axes][16]
  const uint32_t *first_new; // [blocks + 1]: points touched first in block b are first_new[b] .. first_new[b + 1]
  const float *source;       // blurred values: what the slice reads
  float *target;             // what the splat adds to
};

// The lattice of the positions as rows of a dense array: row = -(key of the last axis), in which neighbours lie next to
// each other. Splatted rows lie in a short window and are blurred, and written over the old values, as soon as no later
// pixel touches them; the old values are not needed then any more.
struct GridView {
  const uint16_t *points;    // [blocks][3][16]: relative to row base[block]
  const float *weights;      // [blocks][3][16]
  const int32_t *base;       // [blocks]
  const int32_t *top;        // [blocks]: one beyond the last row touched
  const int32_t *complete;   // [blocks]: rows below are not touched after this block
  const int32_t *low, *high; // [rows]: the columns with points
  int32_t rows, pitch, window;
  float *values;             // [rows][pitch][R]
  float *scratch;            // [window + 13][pitch][R]
  bool transposed;           // blur along the last axis first
};

struct Pass {
  int64_t pixels;
  const float *unary;      // [pixels padded][R], probabilities; null: those of `classes` in `scores`, clipped
  const float *scores;     // [classes][pixels]
  float clip;
  float *packed;           // [pixels][kept]: where they are kept from one pass to the next, or null
  bool is_packed;          // they are there; the last block's never are
  const float *rest;       // [pixels padded], that of the pseudo-class, or null
  const GridView *grid;    // or null
  int lattices;
  LatticeView lattice[2];
  const float *distribution;  // [pixels padded][R]: splat this instead of what the unary and the slice say, or null
  const float *scale;      // [pixels padded]: of the distribution before the splat or of the messages, or null
  bool slice, splat;
  float *messages;         // [pixels padded][R]: stop after the slice, and write what came out; or null
  float *rows;             // [pixels padded][R]: the distribution, or null
  float *maxima;           // [R], raised to the largest probabilities, or null
  float *out;              // [classes][pixels], or null
  float *rest_share;       // [pixels padded]: probability of the pseudo-class over its unary, with `out`
  const int *classes;      // [kept] the class of each column
  int kept;
  float certain;           // a pixel whose largest probability is below it is uncertain
  int32_t *uncertain;      // the numbers of such pixels, or null
  float *uncertain_rows;   // [found][R]: their distributions
  int64_t found;           // result: how many there are
  float largest_sum;       // result: of unary * exp(message); beyond 1e30 the results mean nothing
};

struct Kernels {
  const char *name;
  // Features [d][kBatch] -> numbers [axes][kBatch] and barycentric weights [axes][kBatch].
  void (*elevate)(const float *features, const Numbering &numbering, uint64_t *numbers, float *weights);
  // Finds or adds the points of `pixels` <= kBatch pixels; returns the new number of points. first_new: before each
  // block of the batch.
  uint32_t (*insert)(const uint64_t *numbers, int axes, int pixels, const Table &table, uint64_t *keys, uint32_t count,
                     uint32_t *points, uint32_t *first_new);
  // next[p]: the point one down the axis, or `count` where there is none.
  void (*neighbours)(const uint64_t *keys, uint32_t count, const Numbering &numbering, int axis, const Table &table,
                     uint32_t *next);
  // Sorts the chains of an axis by length: writes them to `out`, at most `count` entries, and their places to `chains`.
  // `next` has count + 1 entries and names `count` where there is no neighbour; `marks` has count bytes, `scratch`
  // (kLongest + 1) * count entries.
  void (*chain)(const uint32_t *next, uint32_t count, uint8_t *marks, uint32_t *scratch, uint32_t *out, Chains *chains);
  // Bit `to` of a point's marks <- bit `from` of it and its neighbours along the axis of `chains`.
  void (*spread)(const Chains &chains, uint32_t count, int from, int to, uint8_t *marks);
  void (*splat_one)(const uint32_t *points, const float *weights, int axes, int64_t blocks, float *target);
  // out[pixel] = sum of weights * source
  void (*slice_one)(const uint32_t *points, const float *weights, int axes, int64_t blocks, const float *source,
                    float *out);
  void (*scale_weights)(float *weights, int axes, int64_t blocks, const float *scale);
  // In place: every point and half its neighbours. row: 1, 8, 16, 24 or 32 channels.
  void (*blur)(int row, float *values, size_t count, const Chains &chains);
  bool (*pass)(int row, Pass &pass);
  // [classes][pixels] scores -> statistics
  void (*scan)(const float *scores, int64_t count, float *low, float *high, int64_t *between, bool *finite);
  // rows [pixels padded][R] of the clipped scores of `kept` classes, or null; rest: the sum of the clipped others,
  // or null
  void (*transpose)(int row, const float *scores, int64_t pixels, const int *kept, int number,
                    const int *others, int other_number, float clip, float *rows, float *rest);
  // largest over the pixels of the sums of the clipped scores of the first k + 1 of `order`
  void (*running_sums)(const float *scores, int64_t pixels, const int *order, int number, float clip, float *sums);
  void (*softmax)(const float *logits, int64_t pixels, int classes, float *out);
  // columns of wide rows -> narrow rows
  // column k of every pixel, at columns[k] + pixel * stride -> out[pixel][row], zeros beyond `number`
  void (*select)(const float *const *columns, int number, int64_t stride, int64_t pixels, int row, float *out);
  void (*restore)(const float *scores, int64_t pixels, const int *others, int number, float clip, const float *share,
                  float *out);
  // x <- log x, and a very small number where x is 0
  void (*logarithms)(float *x, int64_t count);
  // x[pixel][row] += scale[row] * message[pixel][row]
  void (*combine)(int row, int64_t pixels, const float *message, const float *scale, float *x);
  // x[pixel][row] += message[pixel][row] times a matrix [row][row]
  void (*combine_matrix)(int row, int64_t pixels, const float *message, const float *matrix, float *x);
  // Softmax over [blocks][pixels padded][row] and the pseudo-class (its probability, or null), in place. share: of the
  // pseudo-class's unary in its probability. maxima: [blocks][row] or null
  void (*softmax_blocks)(int row, int blocks, int64_t pixels, const float *rest, float *x, float *share, float *maxima);
  // x *= exp(-messages)
  void (*discount)(float *x, const float *messages, int64_t count);
  // rows [pixels padded][row] -> out[classes[k]][pixel]
  void (*write)(int row, const float *rows, int64_t pixels, const int *classes, int number, float *out);
};

const Kernels *baseline_kernels();
const Kernels *avx2_kernels();
const Kernels *avx512_kernels();

}  // namespace dcrf
