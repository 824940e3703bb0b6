#include "server/training/columns.h"

#include <unordered_map>
#include <unordered_set>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"

namespace densityd::training {
namespace {

constexpr size_t kMaxNameBytes = 256;
constexpr size_t kMaxListedNames = 20;

using ColumnIndex = std::unordered_map<std::string, size_t>;

std::string At(std::string_view field, size_t index) { return absl::StrCat(ToAbsl(field), "[", index, "]"); }

// The known names, for a message.
std::string ListNames(const std::vector<std::string>& names) {
  std::string list;
  for (size_t i = 0; i < names.size() && i < kMaxListedNames; ++i) {
    absl::StrAppend(&list, i == 0 ? "" : ", ", Quote(names[i]));
  }
  if (names.size() > kMaxListedNames) absl::StrAppend(&list, ", … (", names.size(), " in all)");
  return list;
}

// Indices of `wanted`, marking them in `taken`.
absl::StatusOr<std::vector<size_t>> Find(std::string_view field,
                                         const google::protobuf::RepeatedPtrField<std::string>& wanted,
                                         const ColumnIndex& index, const std::vector<std::string>& names,
                                         std::vector<bool>& taken) {
  std::vector<size_t> found;
  for (int i = 0; i < wanted.size(); ++i) {
    const auto column = index.find(wanted[i]);
    if (column == index.end()) {
      return InvalidArgument(
          At(field, i), absl::StrCat("no column is called ", Quote(wanted[i]), "; the data have ", ListNames(names)));
    }
    if (taken[column->second]) {
      return InvalidArgument(At(field, i), absl::StrCat("column ", Quote(wanted[i]),
                                                        " is named twice; a column is "
                                                        "either modelled or context, once"));
    }
    taken[column->second] = true;
    found.push_back(column->second);
  }
  return found;
}

}  // namespace

std::vector<std::string> DefaultColumnNames(size_t count) {
  std::vector<std::string> names;
  names.reserve(count);
  for (size_t i = 0; i < count; ++i) names.push_back(absl::StrCat(i));
  return names;
}

absl::Status CheckColumnNames(std::string_view field, const std::vector<std::string>& names) {
  std::unordered_set<std::string> seen;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty()) return InvalidArgument(At(field, i), "is empty; every column needs a name");
    if (names[i].size() > kMaxNameBytes) {
      return InvalidArgument(At(field, i),
                             absl::StrCat("has ", names[i].size(), " bytes; the limit is ", kMaxNameBytes));
    }
    if (!seen.insert(names[i]).second) {
      return InvalidArgument(At(field, i), absl::StrCat(Quote(names[i]), " names two columns; names must be unique"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ColumnSelection> SelectColumns(const density::v1::TrainRequest& request, size_t cols,
                                              const std::vector<std::string>& names) {
  ColumnSelection selection;
  selection.names = !names.empty() ? names : DefaultColumnNames(cols);
  if (request.columns_size() > 0) {
    if (static_cast<size_t>(request.columns_size()) != cols) {
      return InvalidArgument("columns",
                             absl::StrCat("names ", request.columns_size(), " columns; the data have ", cols));
    }
    selection.names.assign(request.columns().begin(), request.columns().end());
  }
  if (absl::Status status = CheckColumnNames("columns", selection.names); !status.ok()) return status;

  ColumnIndex index;
  for (size_t i = 0; i < selection.names.size(); ++i) index.emplace(selection.names[i], i);
  std::vector<bool> taken(cols, false);
  absl::StatusOr<std::vector<size_t>> context =
      Find("context_columns", request.context_columns(), index, selection.names, taken);
  if (!context.ok()) return context.status();
  selection.context = *std::move(context);
  if (request.feature_columns_size() > 0) {
    absl::StatusOr<std::vector<size_t>> features =
        Find("feature_columns", request.feature_columns(), index, selection.names, taken);
    if (!features.ok()) return features.status();
    selection.features = *std::move(features);
  } else {
    for (size_t i = 0; i < cols; ++i) {
      if (!taken[i]) selection.features.push_back(i);
    }
  }
  if (selection.features.empty()) {
    return InvalidArgument("context_columns", "leave no column to model: every column of the data is context");
  }
  return selection;
}

}  // namespace densityd::training
