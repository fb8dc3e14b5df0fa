// Runs the dense CRF's C interface on one problem: height, width, classes, mode, probabilities, picture -> probabilities.
// Parameters are the defaults of DenseCRF.
#include <cstdio>
#include <vector>

#include "dcrf.h"

int main(int, char **argv) {
  FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
  int32_t size[4];
  if (!in || !out || fread(size, sizeof size, 1, in) != 1) return 1;
  const int64_t pixels = static_cast<int64_t>(size[0]) * size[1];
  std::vector<float> p(pixels * size[2]), q(p.size());
  std::vector<uint8_t> image(pixels * 3);
  if (fread(p.data(), 4, p.size(), in) != p.size() || fread(image.data(), 1, image.size(), in) != image.size()) return 2;
  const dcrf_axis position[] = {{DCRF_X, 1, nullptr, 0}, {DCRF_Y, 1, nullptr, 0}};
  std::vector<dcrf_axis> colour = {{DCRF_X, 67, nullptr, 0}, {DCRF_Y, 67, nullptr, 0}};
  for (int band = 0; band < 3; band++) colour.push_back({DCRF_UINT8, 3, image.data() + band, 3});
  const float weights[] = {3, 4};
  const dcrf_kernel kernels[] = {{position, &weights[0], 2, 0}, {colour.data(), &weights[1], 5, 0}};
  const dcrf_problem problem{p.data(), kernels, pixels, size[1], size[2], 2, DCRF_SYMMETRIC, size[3], 1e-5f};
  dcrf_context *context = dcrf_new();
  if (dcrf_begin(context, &problem) != DCRF_OK || dcrf_advance(context, 10, 1, q.data()) != DCRF_OK) return 3;
  dcrf_free(context);
  fwrite(q.data(), 4, q.size(), out);
  fclose(out);
  puts(dcrf_instruction_set());
}
