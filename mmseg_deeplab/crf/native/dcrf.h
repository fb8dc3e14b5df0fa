// The dense CRF's C interface. A context belongs to one thread at a time; contexts share nothing but the cache of
// position lattices.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dcrf_context dcrf_context;
typedef struct dcrf_filter dcrf_filter;

enum { DCRF_X, DCRF_Y, DCRF_UINT8, DCRF_UINT16, DCRF_FLOAT };
enum { DCRF_SYMMETRIC, DCRF_NONE, DCRF_BEFORE, DCRF_AFTER };
enum { DCRF_ALL, DCRF_ADAPTIVE, DCRF_FAST };
enum { DCRF_OK, DCRF_OUT_OF_MEMORY, DCRF_TOO_MANY_CELLS, DCRF_TOO_LARGE };

// One axis of the feature space: value / std of every pixel.
typedef struct {
  int32_t kind;
  float std;
  const void *data;  // of the pictures' kinds
  int64_t stride;    // from pixel to pixel, in elements
} dcrf_axis;

// compat: 1 number, `classes` numbers or `classes` x `classes` (symmetric), as costs: what is added to the energy.
typedef struct {
  const dcrf_axis *axes;
  const float *compat;
  int32_t dims;
  int32_t compat_dims;  // 0, 1 or 2
} dcrf_kernel;

typedef struct {
  const float *probabilities;  // (classes, pixels)
  const dcrf_kernel *kernels;
  int64_t pixels;
  int64_t width;  // of the picture: x = pixel % width
  int32_t classes;
  int32_t number_of_kernels;
  int32_t normalization;
  int32_t mode;
  float clip;
} dcrf_problem;

const char *dcrf_instruction_set(void);
dcrf_context *dcrf_new(void);
void dcrf_free(dcrf_context *);
int64_t dcrf_bytes(const dcrf_context *);
int dcrf_begin(dcrf_context *, const dcrf_problem *);
// The distribution (classes, pixels) after `updates` more updates; `last`: none will follow.
int dcrf_advance(dcrf_context *, int64_t updates, int last, float *out);
// One kernel's filter by itself, which any number of contexts may use at once; null and a status where it is none.
dcrf_filter *dcrf_filter_new(dcrf_context *, const dcrf_axis *, int32_t dims, int64_t pixels, int64_t width,
                             int32_t normalization, int *status);
void dcrf_filter_free(dcrf_filter *);
// out = K rows or, where `transposed`, K^T rows, both (pixels up to a multiple of 16, row = 8, 16, 24 or 32)
int dcrf_filter_apply(dcrf_context *, const dcrf_filter *, int transposed, int32_t row, const float *rows, float *out);
// seconds: of the phases, since dcrf_begin
void dcrf_phases(const dcrf_context *, double *seconds, int64_t *points);
// statistics of `count` floats: smallest, largest, how many are neither 0 nor 1, 1 where all are finite
void dcrf_scan(const float *values, int64_t count, float *low, float *high, int64_t *between, int32_t *finite);
void dcrf_softmax(const float *logits, int64_t pixels, int32_t classes, float *out);
void dcrf_cache(int64_t limit, int64_t *bytes, int64_t *entries);

#ifdef __cplusplus
}
#endif
