// Tables of numbers with column names, read from and written to CSV and NPY. Used by the server and by densityctl.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
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

/// The same, for a text that comes in pieces: the tables of the pieces, one after another, are the table of the whole.
class CsvPieces {
 public:
  explicit CsvPieces(std::string source);
  ~CsvPieces();

  /// Rows of the next piece, which is some whole lines: the first piece has two of them, unless it is all. May be none.
  absl::StatusOr<Table> Parse(std::string_view lines);
  /// Whether all pieces together are a table.
  absl::Status Finish() const;

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

/// Where the numbers of an NPY file are.
struct NpyLayout {
  std::string type;         ///< "<f4", "<f8", "<i4" or "<i8"
  size_t number_bytes = 0;  ///< of one number
  uint64_t rows = 0;
  uint64_t cols = 0;
  uint64_t data_offset = 0;  ///< of the first number
};

/// Reads the header of an NPY file from its first bytes, of which at least kNpyHeaderBytes are there or all of the
/// file. Errors as ParseNpy, but for the file's size, which it does not know.
absl::StatusOr<NpyLayout> ParseNpyHeader(std::string_view begin, std::string_view source);
inline constexpr size_t kNpyHeaderBytes = 1 << 16;

/// As many numbers as `bytes` holds, appended to `values`. Precondition: bytes.size() is a multiple of number_bytes.
void AppendNpyNumbers(const NpyLayout& layout, std::string_view bytes, std::vector<double>& values);

/// Parses an NPY file (version 1 and 2; little-endian float32, float64, int32 or int64; C order; one or two
/// dimensions; one dimension is one column). INVALID_ARGUMENT saying what is wrong and what to do; never reads past the
/// end, and allocates nothing before the header and the file's size agree.
absl::StatusOr<Table> ParseNpy(std::string_view bytes, std::string_view source);

/// Parses by content: NPY where the magic is there, else CSV.
absl::StatusOr<Table> ParseTable(std::string_view bytes, std::string_view source);

/// CSV with a header (where there are names) and the shortest digits that read back as the same float64. ParseCsv gives
/// the same table back.
std::string FormatCsv(const Table& table);
/// Header of an NPY file with (rows, cols) float64 numbers, which follow: 128 bytes, whatever the shape.
std::string FormatNpyHeader(uint64_t rows, uint64_t cols);
/// NPY version 1, float64, C order.
std::string FormatNpy(const Table& table);

}  // namespace densityd
