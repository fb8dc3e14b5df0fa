// Position lattices depend on the size of the picture only, so they are kept: the one thing that contexts share.
#pragma once

#include <memory>

#include "lattice.h"

namespace dcrf {

// Built, or kept from an earlier call; null where the lattice is none for a grid.
std::shared_ptr<const Grid> cached_grid(const Kernels &kernels, const dcrf_axis *axes, int64_t pixels, int64_t width,
                                        int normalization, float weight);
void set_cache_limit(int64_t bytes);
int64_t cache_bytes();
int64_t cache_entries();

}  // namespace dcrf
