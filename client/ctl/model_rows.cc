#include "client/ctl/model_rows.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/ctl/tables.h"

namespace densityd::ctl {
namespace {

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool ContainsAll(const std::vector<std::string>& names, const std::vector<std::string>& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const std::string& name) { return Contains(names, name); });
}

std::vector<std::string> Without(const std::vector<std::string>& names, const std::vector<std::string>& left_out) {
  std::vector<std::string> rest;
  for (const std::string& name : names) {
    if (!Contains(left_out, name)) rest.push_back(name);
  }
  return rest;
}

std::string Describe(const ModelColumns& model, bool with_context) {
  std::string text = absl::StrCat(model.model, " needs the columns ", absl::StrJoin(model.features, ", "));
  if (with_context && !model.context.empty()) {
    absl::StrAppend(&text, " and the context columns ", absl::StrJoin(model.context, ", "));
  }
  return text;
}

/// Columns by name, for a table and a model.
struct Choice {
  std::vector<std::string> features;
  std::vector<std::string> context;
};

absl::StatusOr<Choice> Choose(const RowsFlags& flags, const ModelColumns& model, bool base_space, const Table& table,
                              const std::string& source) {
  const std::vector<std::string> names = ColumnNames(table);
  // Context that comes from a table of its own is not looked for here.
  const std::vector<std::string> context = flags.context.empty() ? model.context : std::vector<std::string>();
  if (!flags.columns.empty() || !flags.context_columns.empty()) {
    Choice choice = {.features = flags.columns, .context = flags.context_columns};
    if (choice.features.empty()) choice.features = Without(names, choice.context);
    return choice;
  }
  if (base_space && ContainsAll(names, context)) {
    // z has no names of the model's; whatever is not context is z.
    const std::vector<std::string> rest = Without(names, context);
    if (rest.size() == model.features.size()) return Choice{.features = rest, .context = context};
  }
  if (!base_space && ContainsAll(names, model.features) && ContainsAll(names, context)) {
    return Choice{.features = model.features, .context = context};
  }
  const size_t wanted = model.features.size() + context.size();
  if (names.size() == wanted && (table.columns.empty() || base_space)) {
    const auto middle = names.begin() + static_cast<ptrdiff_t>(model.features.size());
    return Choice{.features = {names.begin(), middle}, .context = {middle, names.end()}};
  }
  return absl::InvalidArgumentError(
      absl::StrCat(source, ": ", Describe(model, flags.context.empty()), "; the table has ", names.size(), " columns",
                   table.columns.empty() ? " without names" : absl::StrCat(": ", absl::StrJoin(names, ", ")),
                   ". Choose with --columns and --context-columns"));
}

}  // namespace

absl::StatusOr<ModelColumns> FetchColumns(const Client& client, const std::string& model) {
  absl::StatusOr<density::v1::ModelDetail> detail = client.GetModel(model);
  if (!detail.ok()) return detail.status();
  ModelColumns columns = {
      .model = absl::StrCat(detail->info().name(), "@", detail->info().version()), .features = {}, .context = {}};
  const density::v1::FeatureSchema& schema = detail->manifest().schema();
  for (const auto& column : schema.features()) columns.features.push_back(column.name());
  for (const auto& column : schema.context()) columns.context.push_back(column.name());
  return columns;
}

void AddContextFlag(CLI::App& command, std::string& context) {
  command.add_option("--context", context, "Table with the context: one row for all rows, or one for each");
}

void AddRowsFlags(CLI::App& command, RowsFlags& flags) {
  command.add_option("rows", flags.rows, "Table of rows: a CSV, NPY or JSON file; - is the standard input")
      ->capture_default_str();
  command
      .add_option("--columns", flags.columns,
                  "Columns that are the model's, by name (or 0, 1, … without a header), in the model's order. Default: "
                  "those with the model's names")
      ->delimiter(',');
  command
      .add_option("--context-columns", flags.context_columns,
                  "Columns that are the model's context. Default: those with the model's names")
      ->delimiter(',');
  AddContextFlag(command, flags.context);
}

absl::StatusOr<Table> ReadContext(const std::string& path, const ModelColumns& model, Session& session) {
  if (path.empty()) return Table();
  absl::StatusOr<Table> table = ReadTable(path, session);
  if (!table.ok()) return table;
  return ContainsAll(ColumnNames(*table), model.context) && !model.context.empty()
             ? SelectColumns(*table, model.context, path)
             : table;
}

absl::StatusOr<ModelRows> ReadModelRows(const RowsFlags& flags, const ModelColumns& model, bool base_space,
                                        Session& session) {
  if (flags.rows == "-" && flags.context == "-") {
    return absl::InvalidArgumentError("rows and context cannot both come from the standard input");
  }
  absl::StatusOr<Table> table = ReadTable(flags.rows, session);
  if (!table.ok()) return table.status();
  const std::string source = flags.rows == "-" ? "standard input" : flags.rows;
  const absl::StatusOr<Choice> choice = Choose(flags, model, base_space, *table, source);
  if (!choice.ok()) return choice.status();
  absl::StatusOr<Table> rows = SelectColumns(*table, choice->features, source);
  if (!rows.ok()) return rows.status();
  absl::StatusOr<Table> context = flags.context.empty() ? SelectColumns(*table, choice->context, source)
                                                        : ReadContext(flags.context, model, session);
  if (!context.ok()) return context.status();
  return ModelRows{.rows = *std::move(rows), .context = *std::move(context)};
}

}  // namespace densityd::ctl
