// Memory that grows and is kept: a context calls again and again with problems of similar size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace dcrf {

template <class T>
class Buffer {
 public:
  // Not `dense`: much room of which little is used, so that large pages would fill memory.
  explicit Buffer(bool dense = true) : dense_(dense) {}
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() { std::free(data_); }

  // Room for `size` elements; what was there is lost where the buffer has to grow.
  T *reserve(size_t size) {
    if (size > size_) {
      release();
      data_ = allocate(size, &size_);
    }
    return data_;
  }
  void swap(Buffer &other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  void release() {
    std::free(data_);
    data_ = nullptr;
    size_ = 0;
  }
  T *data() const { return data_; }
  operator T *() const { return data_; }
  int64_t bytes() const { return static_cast<int64_t>(size_ * sizeof(T)); }

 private:
  T *allocate(size_t size, size_t *got) const {
    constexpr size_t kLarge = size_t{1} << 21;
    if (size > (SIZE_MAX >> 1) / sizeof(T)) throw std::bad_alloc();
    size_t bytes = size * sizeof(T);
    const bool huge = dense_ && bytes >= kLarge;
    const size_t alignment = huge ? kLarge : 128;
    bytes = (bytes + 127) / 128 * 128;
    void *data = nullptr;
    if (posix_memalign(&data, alignment, bytes)) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    if (huge) madvise(data, bytes / kLarge * kLarge, MADV_HUGEPAGE);
#endif
    *got = bytes / sizeof(T);
    return static_cast<T *>(data);
  }

  T *data_ = nullptr;
  size_t size_ = 0;
  bool dense_;
};

}  // namespace dcrf
