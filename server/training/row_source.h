// Where the rows of a training come from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/base/file_system.h"

namespace densityd::training {

/// Takes some whole rows, row-major. An error ends the reading.
using RowSink = absl::FunctionRef<absl::Status(absl::Span<const double> rows)>;

/// Rows that are read in order, some at a time, as often as one likes. Thread-safe.
class RowSource {
 public:
  virtual ~RowSource() = default;

  virtual uint64_t rows() const = 0;
  virtual size_t cols() const = 0;
  /// Names of the columns; empty where they have none.
  virtual const std::vector<std::string>& columns() const = 0;

  /// Hands every row to `take`. Its errors, and those of the reading: DATA_LOSS or INVALID_ARGUMENT where the bytes
  /// are none of rows any more.
  virtual absl::Status Read(RowSink take) const = 0;
  /// Of the file that the rows are read from.
  virtual absl::StatusOr<FileStamp> Stamp() const = 0;
};

}  // namespace densityd::training
