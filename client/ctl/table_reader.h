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
#include "server/base/table_stream.h"

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
  TableReader(std::string path, std::istream& in);
  absl::StatusOr<size_t> Read(char* to, size_t size);
  absl::StatusOr<Table> NextJson();

  const std::string path_;
  const std::string source_;
  std::ifstream file_;
  std::istream& in_;
  uint64_t file_bytes_ = 0;  ///< 0: not known
  TableStream stream_;
  bool is_json_ = false;
  bool finished_ = false;  ///< of JSON
};

}  // namespace densityd::ctl
