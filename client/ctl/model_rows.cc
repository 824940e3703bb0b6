#include "client/ctl/model_rows.h"

#include <algorithm>
#include <utility>

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

absl::StatusOr<ModelRowReader> ModelRowReader::Open(const RowsFlags& flags, const ModelColumns& model, bool base_space,
                                                    Session& session) {
  if (flags.rows == "-" && flags.context == "-") {
    return absl::InvalidArgumentError("rows and context cannot both come from the standard input");
  }
  ModelRowReader reader;
  absl::StatusOr<std::unique_ptr<TableReader>> table = TableReader::Open(flags.rows, session);
  if (!table.ok()) return table.status();
  reader.table_ = *std::move(table);
  absl::StatusOr<Table> first = reader.table_->Next();
  if (!first.ok()) return first.status();
  reader.first_ = *std::move(first);
  reader.has_first_ = true;
  absl::StatusOr<Choice> choice = Choose(flags, model, base_space, reader.first_, reader.table_->source());
  if (!choice.ok()) return choice.status();
  reader.features_ = std::move(choice->features);
  reader.context_columns_ = std::move(choice->context);
  reader.has_context_table_ = !flags.context.empty();
  absl::StatusOr<Table> context = ReadContext(flags.context, model, session);
  if (!context.ok()) return context.status();
  reader.context_ = *std::move(context);
  return reader;
}

absl::StatusOr<bool> ModelRowReader::Next(ModelRows& block) {
  absl::StatusOr<Table> table = std::exchange(has_first_, false) ? std::move(first_) : table_->Next();
  if (!table.ok()) return table.status();
  const uint64_t begin = rows_read_;
  rows_read_ += table->rows;
  const bool ended = table->rows == 0;
  if (context_.rows > 1 && (ended ? context_.rows != rows_read_ : context_.rows < rows_read_)) {
    return absl::InvalidArgumentError(absl::StrCat("the context has ", context_.rows, " rows, and ", table_->source(),
                                                   ended ? " has " : " has at least ", rows_read_,
                                                   "; one, or one for each row, is needed"));
  }
  if (ended) return false;
  absl::StatusOr<Table> rows = SelectColumns(*table, features_, table_->source());
  if (!rows.ok()) return rows.status();
  block.rows = *std::move(rows);
  if (!has_context_table_) {
    absl::StatusOr<Table> context = SelectColumns(*table, context_columns_, table_->source());
    if (!context.ok()) return context.status();
    block.context = *std::move(context);
  } else if (context_.rows <= 1) {
    block.context = context_;
  } else {
    const auto row = [this](uint64_t i) { return context_.values.begin() + static_cast<ptrdiff_t>(i * context_.cols); };
    block.context = {
        .rows = table->rows, .cols = context_.cols, .columns = {}, .values = {row(begin), row(rows_read_)}};
  }
  return true;
}

}  // namespace densityd::ctl
