#include "client/ctl/json_table.h"

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/base/strings.h"
#include "server/base/tellable.h"

namespace densityd::ctl {
namespace {

using Json = nlohmann::ordered_json;

class Reader {
 public:
  explicit Reader(std::string_view source) : source_(source) {}

  absl::StatusOr<Table> Read(const Json& json) {
    const Json* rows = &json;
    if (json.is_object()) {
      if (!json.contains("rows")) return Error("has no member \"rows\"");
      rows = &json["rows"];
      if (absl::Status status = ReadColumns(json); !status.ok()) return status;
    }
    if (!rows->is_array()) return Error("rows must be an array of arrays, or of objects");
    if (rows->empty()) return Error("has no rows");
    if (!json.is_object() && rows->front().is_object()) {
      for (const auto& [name, value] : rows->front().items()) table_.columns.push_back(name);
    }
    for (const Json& row : *rows) {
      if (absl::Status status = row.is_object() ? ReadObject(row) : ReadArray(row); !status.ok()) return status;
      ++table_.rows;
    }
    return std::move(table_);
  }

 private:
  absl::Status Error(absl::string_view problem) const {
    return absl::InvalidArgumentError(Tellable(absl::StrCat(source_, ": ", problem)));
  }
  absl::Status RowError(absl::string_view problem) const {
    return Error(absl::StrCat("row ", table_.rows, ": ", problem));
  }

  absl::Status ReadColumns(const Json& json) {
    if (!json.contains("columns")) return absl::OkStatus();
    for (const Json& name : json["columns"]) {
      if (!name.is_string()) return Error("columns must be an array of names");
      table_.columns.push_back(name.get<std::string>());
    }
    return absl::OkStatus();
  }

  absl::Status ReadObject(const Json& row) {
    table_.cols = table_.columns.size();
    if (row.size() != table_.cols) {
      return RowError(absl::StrCat("has ", row.size(), " members, row 0 has ", table_.cols));
    }
    for (const std::string& name : table_.columns) {
      if (!row.contains(name)) return RowError(absl::StrCat("has no member ", Quote(name)));
      if (absl::Status status = ReadNumber(row[name], Quote(name)); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status ReadArray(const Json& row) {
    if (!row.is_array()) return RowError("is no array of numbers");
    if (table_.rows == 0) table_.cols = row.size();
    if (row.empty()) return RowError("is empty");
    if (!table_.columns.empty() && row.size() != table_.columns.size()) {
      return RowError(absl::StrCat("has ", row.size(), " numbers for ", table_.columns.size(), " columns"));
    }
    if (row.size() != table_.cols) {
      return RowError(absl::StrCat("has ", row.size(), " numbers, row 0 has ", table_.cols));
    }
    for (size_t i = 0; i < row.size(); ++i) {
      if (absl::Status status = ReadNumber(row[i], absl::StrCat(i)); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status ReadNumber(const Json& value, absl::string_view column) {
    if (!value.is_number()) return RowError(absl::StrCat("column ", column, ": ", value.dump(), " is no number"));
    table_.values.push_back(value.get<double>());
    return absl::OkStatus();
  }

  std::string source_;
  Table table_;
};

}  // namespace

absl::StatusOr<Table> ParseJsonTable(std::string_view text, std::string_view source) {
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(Tellable(absl::StrCat(std::string(source), ": ", error.what())));
  }
  return Reader(source).Read(json);
}

}  // namespace densityd::ctl
