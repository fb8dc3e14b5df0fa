// Memory that grows and is kept: a context calls again and again with problems of similar size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace dcrf {

template <class T>
class Buffer {
 public:
  Buffer() = default;
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
  // The same, but the first `used` elements stay.
  T *extend(size_t size, size_t used) {
    if (size > size_) {
      size_t grown;
      T *data = allocate(size + size / 2, &grown);
      for (size_t i = 0; i < used; i++) data[i] = data_[i];
      std::free(data_);
      data_ = data;
      size_ = grown;
    }
    return data_;
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
  static T *allocate(size_t size, size_t *got) {
    constexpr size_t kLarge = size_t{1} << 21;
    if (size > (SIZE_MAX >> 1) / sizeof(T)) throw std::bad_alloc();
    size_t bytes = size * sizeof(T);
    const size_t alignment = bytes >= kLarge ? kLarge : 128;
    bytes = (bytes + 127) / 128 * 128;
    void *data = nullptr;
    if (posix_memalign(&data, alignment, bytes)) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    if (bytes >= kLarge) madvise(data, bytes / kLarge * kLarge, MADV_HUGEPAGE);
#endif
    *got = bytes / sizeof(T);
    return static_cast<T *>(data);
  }

  T *data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace dcrf
