// From a table to the rows and the context that a model asks for.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/ctl/session.h"
#include "client/ctl/table_reader.h"
#include "server/base/table.h"

namespace densityd::ctl {

/// What a model's rows are called.
struct ModelColumns {
  std::string model;  ///< name@version
  std::vector<std::string> features;
  std::vector<std::string> context;
};

/// Asks the server.
absl::StatusOr<ModelColumns> FetchColumns(const Client& client, const std::string& model);

/// Which table holds the rows, and which of its columns are what.
struct RowsFlags {
  std::string rows = "-";
  std::vector<std::string> columns;          ///< empty: by the model's names, else by position
  std::vector<std::string> context_columns;  ///< empty: by the model's names, else by position
  std::string context;                       ///< a table of its own for the context; empty: none
};

/// Declares the positional argument ROWS and --columns, --context-columns, --context.
void AddRowsFlags(CLI::App& command, RowsFlags& flags);
/// Declares --context alone, for commands without rows.
void AddContextFlag(CLI::App& command, std::string& context);

/// Rows (n, D) and context (n, C), (1, C) or none.
struct ModelRows {
  Table rows;
  Table context;

  RowsView<double> rows_view() const { return {rows.values, rows.cols}; }
  RowsView<double> context_view() const {
    return context.cols == 0 ? RowsView<double>() : RowsView<double>(context.values, context.cols);
  }
};

/// Reads a table of any size block by block and finds the columns: those that the flags name; else those with the
/// model's names, whatever else the table holds; else, in a table without names, the first D and then C columns.
/// `base_space` is for rows z, which go by position whatever their names. A table of its own for the context is read
/// whole. Not thread-safe.
class ModelRowReader {
 public:
  static absl::StatusOr<ModelRowReader> Open(const RowsFlags& flags, const ModelColumns& model, bool base_space,
                                             Session& session);

  /// Reads the next rows. False at the end.
  absl::StatusOr<bool> Next(ModelRows& block);

  /// How much of the table was read, within [0, 1], where that is known; and how many rows.
  std::optional<double> share_read() const { return table_->share_read(); }
  uint64_t rows_read() const { return rows_read_; }

 private:
  ModelRowReader() = default;

  std::unique_ptr<TableReader> table_;
  Table first_;  ///< block that was read to find the columns
  bool has_first_ = false;
  std::vector<std::string> features_;
  std::vector<std::string> context_columns_;
  bool has_context_table_ = false;
  Table context_;
  uint64_t rows_read_ = 0;
};

/// The context table of a command without rows.
absl::StatusOr<Table> ReadContext(const std::string& path, const ModelColumns& model, Session& session);

}  // namespace densityd::ctl
