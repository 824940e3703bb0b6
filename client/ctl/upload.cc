#include "client/ctl/upload.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/ctl/tables.h"

namespace densityd::ctl {

absl::StatusOr<density::v1::Dataset> UploadFile(Session& session, const Client& client, const std::string& path,
                                                const std::string& display_name,
                                                const std::vector<std::string>& columns,
                                                const std::vector<std::string>& missing_columns) {
  constexpr size_t kLongestDisplayName = 128;
  const absl::StatusOr<Table> table = ReadTable(path, session);
  if (!table.ok()) return table.status();
  UploadOptions options = {.display_name = display_name,
                           .columns = columns.empty() ? table->columns : columns,
                           .missing_columns = missing_columns};
  if (options.columns.size() != table->cols && !options.columns.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has ", table->cols, " columns, and ", options.columns.size(), " names were given"));
  }
  if (display_name.empty() && path != "-") options.display_name = path.substr(0, kLongestDisplayName);
  std::ostream& err = session.streams.err;
  const bool bar = session.streams.err_columns > 0;
  absl::StatusOr<density::v1::Dataset> dataset =
      client.Upload({table->values, table->cols}, options, [&](size_t sent, size_t rows) {
        if (bar) err << absl::StrFormat("\ruploading %d of %d rows\x1b[K", sent, rows) << std::flush;
      });
  if (bar) err << "\r\x1b[K" << std::flush;
  return dataset;
}

}  // namespace densityd::ctl
