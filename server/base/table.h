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

/// Parses comma-separated numbers; lines end with LF or CRLF, and a UTF-8 byte-order mark is skipped. Cells may be
/// quoted. The first line is the header where it holds a non-number, or where all of its cells are quoted and not all
/// of the second line's. Numbers are decimal, "nan" or "inf"; what is too small for float64 becomes 0. `source` (a file
/// name) begins every message. INVALID_ARGUMENT naming line and column (both from 1): ragged or empty lines, cells that
/// are empty, no number or too large for float64, names that are empty or repeated; and no rows.
absl::StatusOr<Table> ParseCsv(std::string_view text, std::string_view source);

/// Parses an NPY file (version 1 and 2; little-endian float32, float64, int32 or int64; C order; one or two
/// dimensions; one dimension is one column). INVALID_ARGUMENT saying what is wrong and what to do; never reads past the
/// end, and allocates nothing before the header and the file's size agree.
absl::StatusOr<Table> ParseNpy(std::string_view bytes, std::string_view source);

/// Parses by content: NPY where the magic is there, else CSV.
absl::StatusOr<Table> ParseTable(std::string_view bytes, std::string_view source);

/// CSV with a header (where there are names) and the shortest digits that read back as the same float64. ParseCsv gives
/// the same table back.
std::string FormatCsv(const Table& table);
/// NPY version 1, float64, C order.
std::string FormatNpy(const Table& table);

}  // namespace densityd
