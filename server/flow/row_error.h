// A row that a flow cannot map. Free of LibTorch.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace densityd::flow {

/// Thrown by transforms in evaluation mode. what() says which limit it met and what to do, without the row.
class RowError : public std::runtime_error {
 public:
  RowError(int64_t row, const std::string& what) : std::runtime_error(what), row_(row) {}
  /// Its index (0-based) among the rows that were given.
  int64_t row() const { return row_; }

 private:
  int64_t row_;
};

}  // namespace densityd::flow
