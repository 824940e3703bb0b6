// Rows of numbers, as the client takes and gives them.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <vector>

namespace densityd {

/// The two number types that rows may have.
template <typename T>
concept RowNumber = std::same_as<T, float> || std::same_as<T, double>;

/// Row-major rows (N, D) that own their numbers. Invariant: values.size() == rows * cols.
template <RowNumber T>
struct Rows {
  size_t rows = 0;
  size_t cols = 0;
  std::vector<T> values = {};

  /// Row `i`, (D). Precondition: i < rows.
  std::span<const T> operator[](size_t i) const { return std::span<const T>(values).subspan(i * cols, cols); }
};

/// Read-only view of row-major rows (N, D) in the caller's memory, which must outlive the call that it is given to.
/// A default-constructed view means "none".
template <RowNumber T>
class RowsView {
 public:
  RowsView() = default;
  /// `values` holds rows of `cols` numbers, one after another. A size that is no multiple of `cols`, or no columns at
  /// all, is reported as INVALID_ARGUMENT by the call that the view is given to.
  RowsView(std::span<const T> values, size_t cols) : values_(values), cols_(cols) {}
  RowsView(const std::vector<T>& values, size_t cols) : values_(values), cols_(cols) {}
  RowsView(const Rows<T>& rows) : values_(rows.values), cols_(rows.cols) {}  // NOLINT: a view of what it is given

  std::span<const T> values() const { return values_; }
  size_t cols() const { return cols_; }
  /// N, rounded down.
  size_t rows() const { return cols_ == 0 ? 0 : values_.size() / cols_; }
  /// Whether this is "none".
  bool empty() const { return values_.empty() && cols_ == 0; }
  /// Whether the values make whole rows.
  bool well_formed() const { return cols_ != 0 && values_.size() % cols_ == 0; }
  /// Rows [begin, begin + count). Precondition: begin + count <= rows().
  RowsView Slice(size_t begin, size_t count) const {
    return RowsView(values_.subspan(begin * cols_, count * cols_), cols_);
  }

 private:
  std::span<const T> values_;
  size_t cols_ = 0;
};

}  // namespace densityd
