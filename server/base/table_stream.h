// Tables of any size, read block by block in constant memory. Used by the server and by densityctl.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/table.h"

namespace densityd {

/// Reads an NPY file or CSV, told apart as ParseTable does. Not thread-safe.
class TableStream {
 public:
  /// Writes the input's next bytes to `to`, at most `size`, and says how many; 0 at its end.
  using Input = std::function<absl::StatusOr<size_t>(char* to, size_t size)>;

  /// `source` is what the table is called in messages.
  TableStream(std::string source, Input input) : source_(std::move(source)), input_(std::move(input)), csv_(source_) {}

  /// The next rows; none at the end. Blocks have the same columns and some thousand rows; of a CSV file, the first has
  /// the names. Errors as ParseTable, also after good blocks, and the input's own.
  absl::StatusOr<Table> Next();

  /// The first bytes, for those who know other formats: at least kNpyHeaderBytes, or all. Before the first Next.
  absl::StatusOr<std::string_view> Begin();
  /// All bytes, to be parsed by somebody else. Instead of Next.
  absl::StatusOr<std::string> TakeAll();

  /// Of the input, which blocks were made of up to now.
  uint64_t bytes_used() const { return bytes_read_ - buffer_.size(); }

 private:
  enum class Format { kUnknown, kCsv, kNpy };

  /// Reads until the buffer has `bytes` or the input ends.
  absl::Status Fill(size_t bytes);
  absl::Status FindFormat();
  absl::StatusOr<Table> NextCsv();
  absl::StatusOr<Table> NextNpy();

  const std::string source_;
  const Input input_;
  uint64_t bytes_read_ = 0;
  bool ended_ = false;
  std::string buffer_;
  Format format_ = Format::kUnknown;
  CsvPieces csv_;
  NpyLayout npy_;
  uint64_t npy_rows_left_ = 0;
  bool finished_ = false;
};

}  // namespace densityd
