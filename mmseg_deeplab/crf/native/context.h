// One mean-field inference after the other, in memory of its own.
#pragma once

#include <memory>
#include <vector>

#include "lattice.h"

namespace dcrf {

// A kernel's filter with the values that lie on its lattice.
struct Filter {
  bool is_grid = false;
  std::shared_ptr<const Grid> grid;
  Lattice lattice;
  Buffer<float> values;  // of the points; of a lattice, first what building it needs
  Buffer<float> window;  // of a grid
  std::vector<float> compat;
  int compat_dims = 0;
};

// What the fast mode goes on with: the pixels that are not certain yet, and the points and rows that they touch. Blocks
// may be filled up with pixels that do not exist: number -1, weight 0.
struct Active {
  int64_t pixels = 0, found = 0;
  Buffer<int32_t> list, found_list;
  Buffer<float> unary, rest, rows, share, found_rows;
  std::shared_ptr<Grid> grid;
  std::vector<std::unique_ptr<Filter>> filters;
  Buffer<uint8_t> reached, leads;
  Buffer<uint32_t> number, touched;  // of a lattice point among the touched ones, and the other way round
};

class Context {
 public:
  explicit Context(const Kernels &kernels) : k_(kernels) {}
  int begin(const dcrf_problem &problem);
  int advance(int64_t updates, bool last, float *out);
  int64_t bytes() const;

  int build_filter(const dcrf_axis *axes, int dims, int64_t pixels, int64_t width, int normalization, float weight,
                   bool as_grid, Filter &filter);
  void apply(const Filter &filter, int64_t pixels, int normalization, bool transposed, int row, const float *rows,
             float *out);

  double seconds[8] = {};
  int64_t points[8] = {};

 private:
  int build_filters();

  // Classes
  void choose_classes(float threshold);
  void drop(const std::vector<int> &order, int number);
  void drop_by_sum(const float *largest, float threshold);

  // Rows of all kept classes, slice, softmax and splat in one pass: Potts models of at most kWidestRow classes
  void start_rows(bool splat, float *out);
  void update_rows(bool splat, bool write, float *out);
  void pack();
  void reserve_values();
  bool is_small() const;
  void fuse();
  void narrow(const std::vector<const float *> &columns, int64_t stride, const std::vector<int> &before);
  Pass pass_of(bool slice, bool splat, float *out);
  void run(Pass &pass) { run(pass, 0, filters().size()); }
  void run(Pass &pass, size_t first, size_t last);
  void filter(Pass &pass, size_t first, size_t last);

  // Blocks of classes one after the other: everything else
  void start_blocks();
  void update_blocks(bool more, float *out);
  void block_energies(int block, float *to);
  void filter_block(size_t first, size_t last, const float *distribution);
  void write_blocks(float *out);
  int blocks() const { return (static_cast<int>(kept_.size()) + row_ - 1) / row_; }
  size_t block_size() const { return static_cast<size_t>(padded() * row_); }

  // Pixels that are not certain yet
  bool list_active();
  bool freeze();
  void freeze_grid(const Grid &from, Grid &to);
  void freeze_lattice(const Lattice &from, Lattice &to);
  void write_active(float *out);

  std::vector<std::unique_ptr<Filter>> &filters() { return is_active_ ? active_.filters : filters_; }
  int64_t padded() const { return (problem_.pixels + kBlock - 1) / kBlock * kBlock; }

  const Kernels &k_;
  dcrf_problem problem_{};
  std::vector<std::unique_ptr<Filter>> filters_;
  std::vector<int> kept_, others_;
  bool potts_ = false;    // numbers >= 0, folded into the weights
  bool blocked_ = false;
  bool started_ = false, dropping_ = false, overflow_ = false;
  int row_ = 0;
  int room_ = 0;          // channels of a point that there is memory for
  bool fused_ = false;    // there is room for the values that a pass reads and those that it writes
  int64_t done_ = 0;      // updates
  int source_ = 0;        // which of the values the next slice reads
  bool is_active_ = false, freezing_ = false;
  Active active_;
  Workspace space_;
  float *scratch_ = nullptr;  // the result's memory, until it is written: holds the kept classes' scores
  bool packed_ = false;
  Buffer<float> rows_, rest_, share_, state_, energy_, message_, values_, window_;
  std::vector<float> maxima_;
};

}  // namespace dcrf
