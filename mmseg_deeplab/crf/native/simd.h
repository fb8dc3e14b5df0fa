// Vectors of floats by the compilers' vector extensions (GCC, Clang), for any instruction set.
// Everything here has internal linkage: the file is compiled once for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#define ALWAYS_INLINE inline __attribute__((always_inline))

namespace {

#if defined(__AVX512F__)
constexpr int kWidest = 16;
#elif defined(__AVX__)
constexpr int kWidest = 8;
#else
constexpr int kWidest = 4;
#endif

template <int W>
struct Vec;
#define DEFINE_VEC(W)                                                        \
  template <>                                                                \
  struct Vec<W> {                                                            \
    typedef float f __attribute__((vector_size(4 * W)));                     \
    typedef int32_t i __attribute__((vector_size(4 * W)));                   \
    typedef float loose __attribute__((vector_size(4 * W), aligned(4), may_alias)); \
  };
DEFINE_VEC(1)
DEFINE_VEC(4)
DEFINE_VEC(8)
DEFINE_VEC(16)
#undef DEFINE_VEC

using f8 = Vec<8>::f;
using i8 = Vec<8>::i;

template <int W>
ALWAYS_INLINE typename Vec<W>::f load(const float *from) {
  return *reinterpret_cast<const typename Vec<W>::loose *>(from);
}

template <int W>
ALWAYS_INLINE void store(float *to, typename Vec<W>::f value) {
  *reinterpret_cast<typename Vec<W>::loose *>(to) = value;
}

// exp to 1e-7 relative for x in [-87, 88]; the polynomial is that of Cephes. 2^n is added to the exponent.
template <int W>
ALWAYS_INLINE typename Vec<W>::f exponential(typename Vec<W>::f x) {
  using F = typename Vec<W>::f;
  using I = typename Vec<W>::i;
  const F shifter = F{} + 12582912.0f;  // 1.5 * 2^23: the sum's last bits are the rounded integer
  F t = x * 1.44269504088896341f + shifter;
  F n = t - shifter;
  F r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  F p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + (r + 1.0f);
  return reinterpret_cast<F>(reinterpret_cast<I>(p) + (reinterpret_cast<I>(t) << 23));
}

// log to 1e-7 for normal x > 0, by Cephes' polynomial.
template <int W>
ALWAYS_INLINE typename Vec<W>::f logarithm(typename Vec<W>::f x) {
  using F = typename Vec<W>::f;
  using I = typename Vec<W>::i;
  I bits = reinterpret_cast<I>(x);
  I exponent = (bits >> 23) - 126;
  F m = reinterpret_cast<F>((bits & 0x007fffff) | 0x3f000000);  // [0.5, 1)
  I low = m < 0.707106781186547524f;
  exponent += low;  // -1 where low
  m = m + reinterpret_cast<F>(reinterpret_cast<I>(m) & low) - 1.0f;
  F e = __builtin_convertvector(exponent, F);
  F z = m * m;
  F p = m * 7.0376836292e-2f + -1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m + -1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m + -1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m + -2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  p = p * m * z + e * -2.12194440e-4f - z * 0.5f;
  return m + p + e * 0.693359375f;
}

template <int W>
ALWAYS_INLINE typename Vec<W>::f smaller(typename Vec<W>::f a, typename Vec<W>::f b) {
  return a < b ? a : b;
}

template <int W>
ALWAYS_INLINE typename Vec<W>::f larger(typename Vec<W>::f a, typename Vec<W>::f b) {
  return a > b ? a : b;
}

constexpr int width_of(int floats) {
  return floats >= kWidest ? kWidest : floats >= 8 && kWidest >= 8 ? 8 : floats >= 4 ? 4 : 1;
}

// R floats in as few registers as the instruction set allows.
template <int R>
struct Row {
  static constexpr int W = width_of(R);
  using V = typename Vec<W>::f;
  V head;
  Row<R - W> tail;

  static ALWAYS_INLINE Row from(const float *p) { return {load<W>(p), Row<R - W>::from(p + W)}; }
  static ALWAYS_INLINE Row fill(float v) { return {V{} + v, Row<R - W>::fill(v)}; }
  ALWAYS_INLINE void to(float *p) const {
    store<W>(p, head);
    tail.to(p + W);
  }
  // this += scale * p
  ALWAYS_INLINE void add(float scale, const float *p) {
    head += scale * load<W>(p);
    tail.add(scale, p + W);
  }
  // p += scale * this
  ALWAYS_INLINE void add_to(float scale, float *p) const {
    store<W>(p, load<W>(p) + scale * head);
    tail.add_to(scale, p + W);
  }
  ALWAYS_INLINE void multiply(float scale) {
    head *= scale;
    tail.multiply(scale);
  }
  ALWAYS_INLINE void multiply(const float *p) {
    head *= load<W>(p);
    tail.multiply(p + W);
  }
  ALWAYS_INLINE void add(const float *p) {
    head += load<W>(p);
    tail.add(p + W);
  }
  ALWAYS_INLINE void add(const Row &other) {
    head += other.head;
    tail.add(other.tail);
  }
  ALWAYS_INLINE void subtract(float v) {
    head -= v;
    tail.subtract(v);
  }
  // this += scale (elementwise) * other
  ALWAYS_INLINE void add_scaled(const float *scale, const Row &other) {
    head += load<W>(scale) * other.head;
    tail.add_scaled(scale + W, other.tail);
  }
  ALWAYS_INLINE void exponentiate() {
    head = exponential<W>(smaller<W>(larger<W>(head, V{} - 87.0f), V{} + 87.0f));
    tail.exponentiate();
  }
  ALWAYS_INLINE void exponentiate_positive() {
    head = exponential<W>(smaller<W>(head, V{} + 87.0f));
    tail.exponentiate_positive();
  }
  ALWAYS_INLINE void raise_to(const Row &other) {
    head = larger<W>(head, other.head);
    tail.raise_to(other.tail);
  }
};

template <>
struct Row<0> {
  static ALWAYS_INLINE Row from(const float *) { return {}; }
  static ALWAYS_INLINE Row fill(float) { return {}; }
  ALWAYS_INLINE void to(float *) const {}
  ALWAYS_INLINE void add(float, const float *) {}
  ALWAYS_INLINE void add_to(float, float *) const {}
  ALWAYS_INLINE void multiply(float) {}
  ALWAYS_INLINE void multiply(const float *) {}
  ALWAYS_INLINE void add(const float *) {}
  ALWAYS_INLINE void add(const Row &) {}
  ALWAYS_INLINE void subtract(float) {}
  ALWAYS_INLINE void add_scaled(const float *, const Row &) {}
  ALWAYS_INLINE void exponentiate() {}
  ALWAYS_INLINE void exponentiate_positive() {}
  ALWAYS_INLINE void raise_to(const Row &) {}
};

struct Sum {
  template <class V>
  static ALWAYS_INLINE V of(V a, V b) {
    return a + b;
  }
};
struct Max {
  template <class V>
  static ALWAYS_INLINE V of(V a, V b) {
    return a > b ? a : b;
  }
};

// The R floats of a row folded into eight.
template <class Op, int R>
ALWAYS_INLINE f8 fold(const Row<R> &row) {
  alignas(64) float buffer[R];
  row.to(buffer);
  f8 result = load<8>(buffer);
  for (int k = 8; k < R; k += 8) result = Op::of(result, load<8>(buffer + k));
  return result;
}
template <class Op>
ALWAYS_INLINE f8 fold(const Row<8> &row) {
#if defined(__AVX__)
  return row.head;
#else
  f8 result;
  row.to(reinterpret_cast<float *>(&result));
  return result;
#endif
}
#if defined(__AVX512F__)
template <class Op>
ALWAYS_INLINE f8 fold(const Row<16> &row) {
  return Op::of(__builtin_shufflevector(row.head, row.head, 0, 1, 2, 3, 4, 5, 6, 7),
                __builtin_shufflevector(row.head, row.head, 8, 9, 10, 11, 12, 13, 14, 15));
}
template <class Op>
ALWAYS_INLINE f8 fold(const Row<24> &row) {
  return Op::of(fold<Op>(Row<16>{row.head, {}}), row.tail.head);
}
template <class Op>
ALWAYS_INLINE f8 fold(const Row<32> &row) {
  return fold<Op>(Row<16>{Op::of(row.tail.head, row.head), {}});
}
#endif

// Eight vectors reduced to one: lane i is the reduction of vector i.
template <class Op>
ALWAYS_INLINE f8 reduce(const f8 *x) {
  f8 a[4], b[2];
  for (int k = 0; k < 4; k++)
    a[k] = Op::of(__builtin_shufflevector(x[2 * k], x[2 * k + 1], 0, 8, 1, 9, 4, 12, 5, 13),
                  __builtin_shufflevector(x[2 * k], x[2 * k + 1], 2, 10, 3, 11, 6, 14, 7, 15));
  for (int k = 0; k < 2; k++)
    b[k] = Op::of(__builtin_shufflevector(a[2 * k], a[2 * k + 1], 0, 1, 8, 9, 4, 5, 12, 13),
                  __builtin_shufflevector(a[2 * k], a[2 * k + 1], 2, 3, 10, 11, 6, 7, 14, 15));
  return Op::of(__builtin_shufflevector(b[0], b[1], 0, 1, 2, 3, 8, 9, 10, 11),
                __builtin_shufflevector(b[0], b[1], 4, 5, 6, 7, 12, 13, 14, 15));
}

// rows[i][k] <- x[k][i]
ALWAYS_INLINE void transpose(f8 *x) {
  f8 a[8], b[8];
  for (int k = 0; k < 4; k++) {
    a[2 * k] = __builtin_shufflevector(x[2 * k], x[2 * k + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    a[2 * k + 1] = __builtin_shufflevector(x[2 * k], x[2 * k + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int k = 0; k < 2; k++) {
    b[4 * k + 0] = __builtin_shufflevector(a[4 * k], a[4 * k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    b[4 * k + 1] = __builtin_shufflevector(a[4 * k], a[4 * k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    b[4 * k + 2] = __builtin_shufflevector(a[4 * k + 1], a[4 * k + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    b[4 * k + 3] = __builtin_shufflevector(a[4 * k + 1], a[4 * k + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  for (int k = 0; k < 4; k++) {
    x[k] = __builtin_shufflevector(b[k], b[k + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    x[k + 4] = __builtin_shufflevector(b[k], b[k + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

}  // namespace
