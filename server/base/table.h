// Tables of numbers with column names, read from and written to CSV and NPY. Used by the server and by densityctl.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace densityd {

/// Row-major table (rows, cols). `columns` is empty where the source had no names. Invariant: values.size() =
/// rows * cols, and columns.size() is 0 or cols.
struct Table {
  size_t rows = 0;
  size_t cols = 0;
  std::vector<std::string> columns;
  std::vector<double> values;
};

/// Parses comma-separated numbers. A first line that holds a non-number is the header. `source` (a file name) begins
/// every message. INVALID_ARGUMENT naming line and column: ragged lines, cells that are empty or no number, no rows.
absl::StatusOr<Table> ParseCsv(std::string_view text, std::string_view source);

/// Parses an NPY file (version 1 and 2; little-endian float32, float64, int32 or int64; C order; one or two
/// dimensions). INVALID_ARGUMENT saying what is wrong; never reads past the end or allocates more than the file holds.
absl::StatusOr<Table> ParseNpy(std::string_view bytes, std::string_view source);

/// Parses by content: NPY where the magic is there, else CSV.
absl::StatusOr<Table> ParseTable(std::string_view bytes, std::string_view source);

/// CSV with a header (where there are names) and the shortest digits that read back as the same float64.
std::string FormatCsv(const Table& table);
/// NPY version 1, float64, C order.
std::string FormatNpy(const Table& table);

}  // namespace densityd
