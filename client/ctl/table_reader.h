// Tables of any size, read block by block in constant memory.
#pragma once

#include <cstdint>
#include <fstream>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/ctl/session.h"
#include "server/base/table.h"

namespace densityd::ctl {

/// Reads NPY, CSV or JSON, told apart by content, from a file or, for "-", from standard input. JSON is read whole. Not
/// thread-safe.
class TableReader {
 public:
  /// NOT_FOUND or INVALID_ARGUMENT with the system's reason.
  static absl::StatusOr<std::unique_ptr<TableReader>> Open(const std::string& path, Session& session);

  /// The next rows; none at the end. Blocks have the same columns and some thousand rows. Errors as ParseTable, and
  /// where nothing can be read, also after good blocks.
  absl::StatusOr<Table> Next();

  /// What the table is called in messages.
  const std::string& source() const { return source_; }
  /// How much of the input was read, within [0, 1]; unset where its size is not known.
  std::optional<double> share_read() const;

 private:
  enum class Format { kUnknown, kCsv, kNpy, kJson };

  TableReader(std::string path, std::istream& in);
  absl::Status Sniff();
  /// Reads until the buffer has `bytes` or the input ends.
  absl::Status Fill(size_t bytes);
  absl::StatusOr<Table> NextCsv();
  absl::StatusOr<Table> NextNpy();
  absl::StatusOr<Table> NextJson();

  const std::string path_;
  const std::string source_;
  std::ifstream file_;
  std::istream& in_;
  uint64_t file_bytes_ = 0;  ///< 0: not known
  uint64_t bytes_read_ = 0;
  bool ended_ = false;
  std::string buffer_;
  Format format_ = Format::kUnknown;
  CsvPieces csv_;
  NpyLayout npy_;
  uint64_t npy_rows_left_ = 0;
  bool finished_ = false;
};

}  // namespace densityd::ctl
