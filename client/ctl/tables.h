// Tables in and out of densityctl: which format, which columns.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/ctl/session.h"
#include "server/base/table.h"

namespace densityd::ctl {

/// Reads a table from a file or, for "-", from standard input: NPY, JSON or CSV, told apart by content.
absl::StatusOr<Table> ReadTable(const std::string& path, Session& session);

/// Where a table goes.
struct OutputFlags {
  std::string path = "-";
  std::string format;  ///< csv, npy or json; empty: by the name of the file, else csv
};

/// Declares --output and --format.
void AddOutputFlags(CLI::App& command, OutputFlags& flags);

/// The names of a table's columns: its header, or "0", "1", ….
std::vector<std::string> ColumnNames(const Table& table);

/// The chosen columns of a table, in the order of `names`. NOT_FOUND naming the first that it does not have.
absl::StatusOr<Table> SelectColumns(const Table& table, std::span<const std::string> names, const std::string& source);

}  // namespace densityd::ctl
