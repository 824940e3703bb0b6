// Checks that several parts of a FlowSpec share. Each returns INVALID_ARGUMENT with the path `field`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace densityd::flow {

/// Column indices, each < D = `features` and listed once.
template <typename List>
absl::Status CheckColumns(const List& columns, int64_t features, const std::string& field) {
  std::vector<bool> seen(features, false);
  for (int i = 0; i < columns.size(); ++i) {
    const std::string path = absl::StrCat(field, "[", i, "]");
    if (columns[i] >= features) {
      return InvalidArgument(path, absl::StrCat("is ", columns[i], "; columns are 0 … ", features - 1));
    }
    if (seen[columns[i]]) return InvalidArgument(path, absl::StrCat("column ", columns[i], " is listed twice"));
    seen[columns[i]] = true;
  }
  return absl::OkStatus();
}

/// Nothing, or a permutation of 0 … D-1.
template <typename List>
absl::Status CheckPermutation(const List& columns, int64_t features, const std::string& field) {
  if (columns.empty()) return absl::OkStatus();
  if (columns.size() != features) {
    return InvalidArgument(field, absl::StrCat("has ", columns.size(), " entries; a permutation of the ", features,
                                               " features needs each of them once"));
  }
  return CheckColumns(columns, features, field);
}

inline absl::Status UnknownEnum(const std::string& field, int value) {
  return InvalidArgument(field, absl::StrCat("has the unknown value ", value));
}

/// A count that is 0, which means its default, or within [min, max].
inline absl::Status CheckCount(uint64_t value, uint64_t min, uint64_t max, const std::string& field) {
  if (value == 0 || (value >= min && value <= max)) return absl::OkStatus();
  return InvalidArgument(field, absl::StrCat("is ", value, "; it must be ", min, " … ", max));
}

}  // namespace densityd::flow
