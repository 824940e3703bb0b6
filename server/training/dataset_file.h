// Rows on disk, in chunks: the rows of an uploaded dataset, and those that came inside a Train request.
//
// Format, all numbers little-endian:
//   file   = header chunk* end
//   header = "DNSROWS1"                                                                     8 bytes
//            u64 columns, 1 … 1,048,576                                                     8 bytes
//   chunk  = u32 number type: 4 float32, 8 float64                                          4 bytes
//            u32 rows, >= 1                                                                 4 bytes
//            SHA-256, in hexadecimal digits, of (the file's header, u64 index of the chunk,
//            the 8 bytes above, rows)                                                      64 bytes
//            rows, row after row                                                            rows * columns * type bytes
//   end    = a chunk with number type 0 and 0 rows
// The index in the checksum makes a chunk that is missing, repeated or from elsewhere as visible as a flipped bit.
// A chunk's rows take at most 4 MiB, or one row where that is longer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/file_system.h"
#include "server/base/matrix.h"
#include "server/training/row_source.h"

namespace densityd::training {

inline constexpr uint64_t kMaxDatasetColumns = 1 << 20;

/// Writes one file of rows. Not thread-safe.
class DatasetFileWriter {
 public:
  /// Creates `path`. `max_bytes` bounds the file. Precondition: 1 <= cols <= kMaxDatasetColumns.
  static absl::StatusOr<std::unique_ptr<DatasetFileWriter>> Create(FileSystem& files, const std::string& path,
                                                                   size_t cols, uint64_t max_bytes);

  /// Appends rows (n, cols). INVALID_ARGUMENT for `field` (other cols; as CheckFinite, with the row counted over the
  /// whole file), RESOURCE_EXHAUSTED (over the limit, or the disk is full).
  absl::Status Append(const ConstMatrix& rows, std::string_view field, const std::vector<bool>& may_be_missing = {});
  /// Writes the end and waits until the file is on stable storage.
  absl::Status Finish();

  uint64_t rows() const { return rows_; }
  uint64_t bytes() const { return bytes_; }
  size_t cols() const { return cols_; }

 private:
  DatasetFileWriter(std::unique_ptr<WritableFile> file, size_t cols, uint64_t max_bytes)
      : file_(std::move(file)), cols_(cols), max_bytes_(max_bytes) {}
  absl::Status Write(std::string_view bytes);
  absl::Status WriteChunk(NumberType type, std::string_view rows, uint32_t row_count);

  std::unique_ptr<WritableFile> file_;
  size_t cols_;
  uint64_t max_bytes_;
  uint64_t rows_ = 0;
  uint64_t bytes_ = 0;
  uint64_t chunks_ = 0;
};

/// The rows of such a file, to be read a chunk at a time, without column names. Looks at every chunk's header, so that
/// the number of rows is known; each chunk is verified when it is read. DATA_LOSS naming the chunk, NOT_FOUND.
absl::StatusOr<std::unique_ptr<RowSource>> OpenDatasetFile(FileSystem& files, const std::string& path,
                                                           std::vector<std::string> columns = {});

/// First number of rows (n, cols) that is not finite, nor NaN in a column that `may_be_missing`, (cols) or empty for
/// none: INVALID_ARGUMENT for `field` with row `first_row` + i and the column, else OK.
absl::Status CheckFinite(const ConstMatrix& rows, std::string_view field, uint64_t first_row,
                         const std::vector<bool>& may_be_missing = {});

}  // namespace densityd::training
