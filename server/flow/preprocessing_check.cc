#include "server/flow/preprocessing_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/errors.h"
#include "server/flow/field_check.h"

namespace densityd::flow {
namespace {

using density::v1::ColumnPreprocessing;
using density::v1::Preprocessing;

constexpr int kMinCategories = 2;
constexpr int kMaxCategories = 1024;
constexpr uint32_t kMaxEmbedding = 256;

bool IsAutomatic(const ColumnPreprocessing& column) {
  return column.scaling() == ColumnPreprocessing::SCALING_UNSPECIFIED ||
         column.scaling() == ColumnPreprocessing::AUTOMATIC;
}

// Refuses a field that is set where nothing reads it.
absl::Status CheckApplies(bool is_set, bool applies, const std::string& field, const char* rule) {
  return is_set && !applies ? InvalidArgument(field, rule) : absl::OkStatus();
}

absl::Status CheckEnd(const ColumnPreprocessing& column, double end, const std::string& field) {
  if (!(std::abs(end) <= std::numeric_limits<float>::max())) {
    return InvalidArgument(field, absl::StrCat("is ", end, "; it must be finite and within float32"));
  }
  if (column.kind() == ColumnPreprocessing::INTEGER && std::floor(end) != end) {
    return InvalidArgument(field, absl::StrCat("is ", end, "; the ends of an INTEGER column are whole numbers"));
  }
  return absl::OkStatus();
}

absl::Status CheckEnds(const ColumnPreprocessing& column, const std::string& field) {
  const bool is_circle = column.kind() == ColumnPreprocessing::CIRCULAR;
  // The ends of a category are those of its index.
  const bool is_category = column.kind() == ColumnPreprocessing::CATEGORICAL;
  const bool is_open = IsAutomatic(column) && !is_category;
  const bool is_logit = column.scaling() == ColumnPreprocessing::LOGIT && !is_category;
  const bool is_log = column.scaling() == ColumnPreprocessing::LOG;
  const absl::Status checks[] = {
      CheckApplies(column.has_low(), is_log || is_logit || is_circle || is_open, field + ".low",
                   "applies to LOG, LOGIT and CIRCULAR"),
      CheckApplies(column.has_high(), is_logit || is_circle || is_open, field + ".high",
                   "applies to LOGIT and CIRCULAR"),
      CheckApplies(!column.has_low(), !is_logit && !column.has_high(), field + ".low",
                   "is not set; a support that ends above needs both ends"),
      CheckApplies(!column.has_high(), !is_logit && !(is_circle && column.has_low()), field + ".high",
                   "is not set; LOGIT and CIRCULAR need both ends"),
      CheckEnd(column, column.low(), field + ".low"),
      CheckEnd(column, column.high(), field + ".high"),
  };
  for (const absl::Status& status : checks) {
    if (!status.ok()) return status;
  }
  // An INTEGER column has the cells low … high, so that one is enough.
  const bool is_ordered =
      column.kind() == ColumnPreprocessing::INTEGER ? column.low() <= column.high() : column.low() < column.high();
  if (!column.has_high() || is_ordered) return absl::OkStatus();
  return InvalidArgument(field + ".high",
                         absl::StrCat("is ", column.high(), "; it must be above `low`, ", column.low()));
}

absl::Status CheckCategories(const ColumnPreprocessing& column, const std::string& field) {
  if (column.categories().empty()) return absl::OkStatus();
  if (column.categories_size() < kMinCategories || column.categories_size() > kMaxCategories) {
    return InvalidArgument(field, absl::StrCat("has ", column.categories_size(), " values; it must have ",
                                               kMinCategories, " … ", kMaxCategories));
  }
  std::set<float> seen;
  for (int i = 0; i < column.categories_size(); ++i) {
    const double value = column.categories(i);
    const std::string path = absl::StrCat(field, "[", i, "]");
    if (!(std::abs(value) <= std::numeric_limits<float>::max())) {
      return InvalidArgument(path, absl::StrCat("is ", value, "; it must be finite and within float32"));
    }
    if (!seen.insert(static_cast<float>(value)).second) {
      return InvalidArgument(path, absl::StrCat(value,
                                                " is listed twice, or cannot be told from another category in "
                                                "float32"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckFit(const ColumnPreprocessing& column, const std::string& field) {
  if (!std::isfinite(column.center())) {
    return InvalidArgument(field + ".center", absl::StrCat("is ", column.center(), "; it must be finite"));
  }
  if (column.has_scale() && !(column.scale() > 0 && std::isfinite(column.scale()))) {
    return InvalidArgument(field + ".scale", absl::StrCat("is ", column.scale(), "; it must be finite and > 0"));
  }
  if (column.has_power() && !(column.power() >= 0 && column.power() <= 2)) {
    return InvalidArgument(field + ".power", absl::StrCat("is ", column.power(), "; it must be within [0, 2]"));
  }
  return CheckApplies(column.has_power(), column.scaling() == ColumnPreprocessing::YEO_JOHNSON, field + ".power",
                      "applies to YEO_JOHNSON");
}

absl::Status CheckKind(const ColumnPreprocessing& column, ColumnRole role, const std::string& field) {
  using Column = ColumnPreprocessing;
  if (!Column::Kind_IsValid(column.kind())) return UnknownEnum(field + ".kind", column.kind());
  if (!Column::Scaling_IsValid(column.scaling())) return UnknownEnum(field + ".scaling", column.scaling());
  const bool is_category = column.kind() == Column::CATEGORICAL;
  const bool embeds = is_category && role == ColumnRole::kContext;
  if (column.kind() == Column::INTEGER && role == ColumnRole::kContext) {
    return InvalidArgument(field + ".kind", "INTEGER says how a density is counted; in the context take CONTINUOUS");
  }
  if (column.kind() == Column::CIRCULAR && !IsAutomatic(column) && column.scaling() != Column::NONE) {
    return InvalidArgument(field + ".scaling", "does not apply to CIRCULAR, whose factor is fixed");
  }
  if (is_category && !IsAutomatic(column) && (embeds || column.scaling() != Column::LOGIT)) {
    return InvalidArgument(field + ".scaling", embeds ? "does not apply to CATEGORICAL context, which is embedded"
                                                      : "must be LOGIT or AUTOMATIC: categories are a bounded range");
  }
  const absl::Status checks[] = {
      CheckApplies(!column.categories().empty(), is_category, field + ".categories", "applies to CATEGORICAL"),
      CheckApplies(column.embedding() != 0, embeds, field + ".embedding", "applies to CATEGORICAL context"),
      CheckApplies(column.accept_unknown(), embeds, field + ".accept_unknown", "applies to CATEGORICAL context"),
      CheckApplies(column.accept_missing(), role == ColumnRole::kContext, field + ".accept_missing",
                   "applies to context; the density of a missing number is not defined"),
  };
  for (const absl::Status& status : checks) {
    if (!status.ok()) return status;
  }
  return CheckCount(column.embedding(), 1, kMaxEmbedding, field + ".embedding");
}

absl::Status CheckColumn(const ColumnPreprocessing& column, ColumnRole role, const std::string& field) {
  if (auto status = CheckKind(column, role, field); !status.ok()) return status;
  if (auto status = CheckEnds(column, field); !status.ok()) return status;
  if (auto status = CheckCategories(column, field + ".categories"); !status.ok()) return status;
  return CheckFit(column, field);
}

// The first field of `column` that is not fitted; empty where all are.
std::string UnfittedField(const ColumnPreprocessing& column, ColumnRole role) {
  using Column = ColumnPreprocessing;
  if (column.kind() == Column::CIRCULAR) return "";
  if (column.kind() == Column::CATEGORICAL) {
    if (column.categories().empty()) return ".categories";
    if (role == ColumnRole::kContext) return "";
  } else if (column.kind() == Column::KIND_UNSPECIFIED) {
    return ".kind";
  } else if (IsAutomatic(column)) {
    return ".scaling";
  }
  if (column.scaling() == Column::NONE) return "";
  if (column.scaling() == Column::YEO_JOHNSON && !column.has_power()) return ".power";
  if (!column.has_center()) return ".center";
  return column.has_scale() ? "" : ".scale";
}

}  // namespace

absl::Status CheckPreprocessing(const Preprocessing& preprocessing, int64_t columns, ColumnRole role,
                                const std::string& field) {
  if (preprocessing.columns().empty()) return absl::OkStatus();
  if (preprocessing.columns_size() != columns) {
    return InvalidArgument(field + ".columns",
                           absl::StrCat("has ", preprocessing.columns_size(), " entries; there are ", columns,
                                        " columns. Name the columns to list some only"));
  }
  for (int i = 0; i < preprocessing.columns_size(); ++i) {
    auto status = CheckColumn(preprocessing.columns(i), role, absl::StrCat(field, ".columns[", i, "]"));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckFittedPreprocessing(const Preprocessing& preprocessing, ColumnRole role, const std::string& field) {
  if (preprocessing.columns().empty()) {
    return InvalidArgument(field + ".columns", "is empty: it was not fitted to data");
  }
  for (int i = 0; i < preprocessing.columns_size(); ++i) {
    const std::string unfitted = UnfittedField(preprocessing.columns(i), role);
    if (unfitted.empty()) continue;
    return InvalidArgument(absl::StrCat(field, ".columns[", i, "]", unfitted), "is not set: it was not fitted to data");
  }
  return absl::OkStatus();
}

absl::Status PlaceNamedColumns(absl::Span<const std::string> names, const std::string& field,
                               Preprocessing& preprocessing) {
  const auto& columns = preprocessing.columns();
  const auto named = std::count_if(columns.begin(), columns.end(), [](const auto& one) { return !one.name().empty(); });
  if (named == 0) return absl::OkStatus();
  Preprocessing placed;
  for (const std::string& name : names) placed.add_columns()->set_name(name);
  for (int i = 0; i < columns.size(); ++i) {
    const std::string path = absl::StrCat(field, ".columns[", i, "].name");
    if (columns[i].name().empty()) return InvalidArgument(path, "is empty, but other entries have a name");
    const auto found = std::find(names.begin(), names.end(), columns[i].name());
    if (found == names.end()) {
      return InvalidArgument(path, absl::StrCat("'", columns[i].name(), "' is none of the columns here, which are ",
                                                absl::StrJoin(names, ", ")));
    }
    for (int before = 0; before < i; ++before) {
      if (columns[before].name() != columns[i].name()) continue;
      return InvalidArgument(path, absl::StrCat("'", columns[i].name(), "' is listed twice"));
    }
    *placed.mutable_columns(static_cast<int>(found - names.begin())) = columns[i];
  }
  preprocessing = std::move(placed);
  return absl::OkStatus();
}

}  // namespace densityd::flow
