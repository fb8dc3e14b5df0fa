// From features to lattice points and barycentric weights, in the reference's float32 operations and their order.
//
// To be compiled with -ffp-contract=off: which points exist depends on the last bit of the coordinates.
// Source: Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010.

#include <cmath>

#include "isa.h"
#include "kernels.h"
#include "simd.h"

namespace {

using dcrf::kBatch;
using dcrf::kMaxAxes;

constexpr int W = kWidest;
using F = Vec<W>::f;
using I = Vec<W>::i;
typedef uint64_t U __attribute__((vector_size(8 * W)));

template <int AXES>
void elevate_batch(const float *features, const dcrf::Numbering &numbering, uint64_t *numbers, float *weights) {
  const int axes = AXES ? AXES : numbering.axes, d = axes - 1;
  constexpr int kRoom = AXES ? AXES : kMaxAxes;
  const float inverse_std = static_cast<float>(std::sqrt(2.0 / 3.0) * axes);
  const float per_axis = 1.0f / static_cast<float>(axes), axis_count = static_cast<float>(axes);
  float scale[kRoom];
  for (int i = 0; i < d; i++)
    scale[i] = static_cast<float>(1.0 / std::sqrt(static_cast<double>((i + 1) * (i + 2))) * inverse_std);
  const F shifter = F{} + 12582912.0f;

  for (int lane = 0; lane < kBatch; lane += W) {
    F elevated[kRoom], offset[kRoom];
    I cell[kRoom], rank[kRoom];
    F total = F{};
    for (int j = d; j > 0; j--) {
      const F scaled = load<W>(features + (j - 1) * kBatch + lane) * scale[j - 1];
      elevated[j] = total - scaled * static_cast<float>(j);
      total = total + scaled;
    }
    elevated[0] = total;
    I sum = I{};
    for (int i = 0; i < axes; i++) {
      const F t = elevated[i] * per_axis + shifter;  // rounds half to even
      cell[i] = reinterpret_cast<I>(t) - 0x4b400000;
      offset[i] = elevated[i] - (t - shifter) * axis_count;
      sum += cell[i];
      rank[i] = I{};
    }
    for (int i = 0; i < axes; i++)
      for (int j = i + 1; j < axes; j++) {
        const I less = offset[i] < offset[j];  // -1 where so
        rank[i] -= less;
        rank[j] += less + 1;
      }
    for (int i = 0; i < axes; i++) {
      rank[i] += sum;
      const I below = rank[i] < 0, above = rank[i] > d;
      const I wrap = above - below;
      cell[i] += wrap;
      rank[i] += wrap * axes;
      offset[i] = (elevated[i] - __builtin_convertvector(cell[i], F) * axis_count) * per_axis;
    }

    U number = U{};
    for (int i = 0; i < axes; i++)
      if (numbering.stride[i]) number += __builtin_convertvector(cell[i] - numbering.low[i], U) * numbering.stride[i];
    *reinterpret_cast<U *>(numbers + lane) = number;
    F before = F{}, first = F{};
    for (int p = 0; p < axes; p++) {  // the axis of rank d - p, and its weight
      F t = F{};
      U stride = U{};
      for (int i = 0; i < axes; i++) {
        const I here = rank[i] == d - p;
        t = here ? offset[i] : t;
        stride = __builtin_convertvector(here, U) ? U{} + numbering.stride[i] : stride;
      }
      if (p == 0)
        first = t;
      else
        store<W>(weights + p * kBatch + lane, t - before);
      before = t;
      if (p < d) {
        number = number + 1 - stride;
        *reinterpret_cast<U *>(numbers + (p + 1) * kBatch + lane) = number;
      }
    }
    store<W>(weights + lane, first + (1.0f - before));
  }
}

}  // namespace

void DCRF_NAME(elevate)(const float *features, const dcrf::Numbering &numbering, uint64_t *numbers, float *weights) {
  switch (numbering.axes) {
    case 3: return elevate_batch<3>(features, numbering, numbers, weights);
    case 6: return elevate_batch<6>(features, numbering, numbers, weights);
    default: return elevate_batch<0>(features, numbering, numbers, weights);
  }
}
