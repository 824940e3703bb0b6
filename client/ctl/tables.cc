#include "client/ctl/tables.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/ctl/files.h"
#include "client/ctl/json_table.h"
#include "server/base/strings.h"

namespace densityd::ctl {

absl::StatusOr<Table> ReadTable(const std::string& path, Session& session) {
  absl::StatusOr<std::string> content = ReadInput(path, session.streams.in);
  if (!content.ok()) return content.status();
  const std::string source = path == "-" ? "standard input" : path;
  const absl::string_view text = absl::StripLeadingAsciiWhitespace(*content);
  const bool json = absl::StartsWith(text, "[") || absl::StartsWith(text, "{");
  return json ? ParseJsonTable(*content, source) : ParseTable(*content, source);
}

void AddOutputFlags(CLI::App& command, OutputFlags& flags) {
  command.add_option("-o,--output", flags.path, "File to write; - is the standard output")->capture_default_str();
  command.add_option("--format", flags.format, "csv, npy or json; default: by the name of the file, else csv")
      ->check(CLI::IsMember({"csv", "npy", "json"}));
}

std::vector<std::string> ColumnNames(const Table& table) {
  if (!table.columns.empty()) return table.columns;
  std::vector<std::string> names;
  for (size_t i = 0; i < table.cols; ++i) names.push_back(absl::StrCat(i));
  return names;
}

absl::StatusOr<Table> SelectColumns(const Table& table, std::span<const std::string> names, const std::string& source) {
  const std::vector<std::string> held = ColumnNames(table);
  std::vector<size_t> indices;
  for (const std::string& name : names) {
    const auto found = std::find(held.begin(), held.end(), name);
    if (found == held.end()) {
      return absl::NotFoundError(
          absl::StrCat(source, " has no column ", Quote(name), "; its columns are ", absl::StrJoin(held, ", ")));
    }
    indices.push_back(static_cast<size_t>(found - held.begin()));
  }
  Table selected = {.rows = table.rows, .cols = names.size(), .columns = {names.begin(), names.end()}, .values = {}};
  selected.values.reserve(table.rows * names.size());
  for (size_t row = 0; row < table.rows; ++row) {
    for (size_t column : indices) selected.values.push_back(table.values[row * table.cols + column]);
  }
  return selected;
}

}  // namespace densityd::ctl
