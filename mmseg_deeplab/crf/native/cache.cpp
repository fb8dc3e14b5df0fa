#include "cache.h"

#include <list>
#include <mutex>
#include <tuple>

namespace dcrf {
namespace {

using Key = std::tuple<int64_t, int64_t, float, float, int, float>;

struct Cache {
  std::mutex mutex;
  std::list<std::pair<Key, std::shared_ptr<const Grid>>> grids;  // the last used first
  int64_t bytes = 0, limit = int64_t{64} << 20;

  void trim() {
    while (bytes > limit && !grids.empty()) {
      bytes -= grids.back().second->bytes();
      grids.pop_back();
    }
  }
};

Cache &cache() {
  static Cache *cache = new Cache;  // never destroyed: threads may still run at exit
  return *cache;
}

}  // namespace

std::shared_ptr<const Grid> cached_grid(const Kernels &kernels, const dcrf_axis *axes, int64_t pixels, int64_t width,
                                        int normalization, float weight) {
  Cache &c = cache();
  const Key key{pixels, width, axes[0].std, axes[1].std, normalization, weight};
  {
    std::lock_guard<std::mutex> lock(c.mutex);
    for (auto it = c.grids.begin(); it != c.grids.end(); ++it)
      if (it->first == key) {
        c.grids.splice(c.grids.begin(), c.grids, it);
        return it->second;
      }
  }
  auto grid = std::make_shared<Grid>();
  if (!build_grid(kernels, axes, pixels, width, normalization, weight, *grid)) return nullptr;
  std::lock_guard<std::mutex> lock(c.mutex);
  c.grids.emplace_front(key, grid);
  c.bytes += grid->bytes();
  c.trim();
  return grid;
}

void set_cache_limit(int64_t bytes) {
  Cache &c = cache();
  std::lock_guard<std::mutex> lock(c.mutex);
  c.limit = bytes;
  c.trim();
}

int64_t cache_bytes() {
  Cache &c = cache();
  std::lock_guard<std::mutex> lock(c.mutex);
  return c.bytes;
}

int64_t cache_entries() {
  Cache &c = cache();
  std::lock_guard<std::mutex> lock(c.mutex);
  return static_cast<int64_t>(c.grids.size());
}

}  // namespace dcrf
