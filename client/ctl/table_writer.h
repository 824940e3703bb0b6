// Tables of any size, written block by block in constant memory.
#pragma once

#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/ctl/session.h"
#include "client/ctl/tables.h"
#include "nlohmann/json.hpp"

namespace densityd::ctl {

/// Writes CSV, NPY or JSON. A file gets its name when it is complete: until then, and after an error, it is called
/// PATH.part, or nothing. Not thread-safe.
class TableWriter {
 public:
  /// `columns` are names. `members` are said beside the rows in the format that can (JSON). `rows`, where known, allows
  /// an NPY table on the standard output to be written as it comes; otherwise that one is kept until the end. UNKNOWN
  /// with the system's reason.
  static absl::StatusOr<std::unique_ptr<TableWriter>> Open(const OutputFlags& flags, std::vector<std::string> columns,
                                                           nlohmann::ordered_json members, std::optional<uint64_t> rows,
                                                           Session& session);
  /// Removes what is not complete.
  ~TableWriter();

  /// Appends whole rows, row after row.
  absl::Status Write(std::span<const double> values);
  absl::Status Finish();

 private:
  enum class Format { kCsv, kNpy, kJson };

  TableWriter(const OutputFlags& flags, std::vector<std::string> columns, std::ostream& out);
  absl::Status OpenFile();
  absl::Status Put(std::string_view bytes);
  absl::Status Error() const;
  void AppendJsonRows(std::span<const double> values, std::string& text) const;

  const std::string path_;
  Format format_;
  const std::vector<std::string> columns_;
  std::string part_;  ///< name of the file until it is complete; empty where it has its name at once
  std::ofstream file_;
  std::ostream& out_;
  uint64_t rows_ = 0;         ///< written
  bool rows_known_ = false;   ///< NPY: the header is right
  std::vector<double> kept_;  ///< NPY on the standard output, of unknown length
  bool complete_ = false;
};

}  // namespace densityd::ctl
