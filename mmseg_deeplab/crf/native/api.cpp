#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "cache.h"
#include "context.h"
#include "dcrf.h"
#include "kernels.h"

namespace {

const dcrf::Kernels &chosen() {
  static const dcrf::Kernels &kernels = []() -> const dcrf::Kernels & {
    const char *wanted = std::getenv("DCRF_ISA");
#if defined(__x86_64__)
    __builtin_cpu_init();
    if ((!wanted || !std::strcmp(wanted, "avx512")) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      return *dcrf::avx512_kernels();
    if ((!wanted || !std::strcmp(wanted, "avx2")) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      return *dcrf::avx2_kernels();
#endif
    return *dcrf::baseline_kernels();
  }();
  return kernels;
}

}  // namespace

struct dcrf_context : dcrf::Context {
  using Context::Context;
};

struct dcrf_filter {
  dcrf::Filter filter;
  int64_t pixels;
  int normalization;
};

extern "C" {
const char *dcrf_instruction_set(void) { return chosen().name; }
dcrf_context *dcrf_new(void) { return new (std::nothrow) dcrf_context(chosen()); }
void dcrf_free(dcrf_context *context) { delete context; }
int64_t dcrf_bytes(const dcrf_context *context) { return context->bytes(); }
int dcrf_begin(dcrf_context *context, const dcrf_problem *problem) {
  try {
    return context->begin(*problem);
  } catch (const std::bad_alloc &) {
    return DCRF_OUT_OF_MEMORY;
  }
}
int dcrf_advance(dcrf_context *context, int64_t updates, int last, float *out) {
  try {
    return context->advance(updates, last, out);
  } catch (const std::bad_alloc &) {
    return DCRF_OUT_OF_MEMORY;
  }
}
dcrf_filter *dcrf_filter_new(dcrf_context *context, const dcrf_axis *axes, int32_t dims, int64_t pixels, int64_t width,
                             int32_t normalization, int *status) {
  try {
    auto built = std::make_unique<dcrf_filter>();
    built->pixels = pixels;
    built->normalization = normalization;
    *status = context->build_filter(axes, dims, pixels, width, normalization, 1, true, built->filter);
    built->filter.values.release();
    return *status == DCRF_OK ? built.release() : nullptr;
  } catch (const std::bad_alloc &) {
    *status = DCRF_OUT_OF_MEMORY;
    return nullptr;
  }
}
void dcrf_filter_free(dcrf_filter *filter) { delete filter; }
int dcrf_filter_apply(dcrf_context *context, const dcrf_filter *built, int transposed, int32_t row, const float *rows,
                      float *out) {
  try {
    context->apply(built->filter, built->pixels, built->normalization, transposed, row, rows, out);
    return DCRF_OK;
  } catch (const std::bad_alloc &) {
    return DCRF_OUT_OF_MEMORY;
  }
}
void dcrf_phases(const dcrf_context *context, double *seconds, int64_t *points) {
  for (int i = 0; i < 8; i++) seconds[i] = context->seconds[i], points[i] = context->points[i];
}
void dcrf_scan(const float *values, int64_t count, float *low, float *high, int64_t *between, int32_t *finite) {
  bool fine;
  chosen().scan(values, count, low, high, between, &fine);
  *finite = fine;
}
void dcrf_softmax(const float *logits, int64_t pixels, int32_t classes, float *out) {
  chosen().softmax(logits, pixels, classes, out);
}
void dcrf_cache(int64_t limit, int64_t *bytes, int64_t *entries) {
  if (limit >= 0) dcrf::set_cache_limit(limit);
  *bytes = dcrf::cache_bytes();
  *entries = dcrf::cache_entries();
}
}
