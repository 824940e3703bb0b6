#include "server/flow/context_column.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace densityd::flow {
namespace {

using density::v1::ColumnPreprocessing;

constexpr size_t kMostDefaultNumbers = 8;
constexpr size_t kListedCategories = 20;

size_t EmbeddingWidth(const ColumnPreprocessing& column, size_t categories) {
  if (column.embedding() != 0) return column.embedding();
  return std::clamp<size_t>((categories + 1) / 2, 1, kMostDefaultNumbers);
}

ContextColumn ColumnOf(const ColumnPreprocessing& spec) {
  ContextColumn column;
  column.form = FormOf(spec);
  column.accept_unknown = spec.accept_unknown();
  column.accept_missing = spec.accept_missing();
  if (spec.kind() == ColumnPreprocessing::CATEGORICAL) {
    column.kind = ContextColumn::Kind::kCategory;
    column.width = EmbeddingWidth(spec, column.form.codes.size());
    column.embedding_rows = column.missing_row() + (column.accept_missing ? 1 : 0);
    return column;
  }
  if (spec.kind() == ColumnPreprocessing::CIRCULAR) {
    column.kind = ContextColumn::Kind::kAngle;
    column.width = 2;
  }
  if (column.accept_missing) ++column.width;
  return column;
}

}  // namespace

std::vector<ContextColumn> ContextColumns(const density::v1::Preprocessing& encoding) {
  std::vector<ContextColumn> columns;
  for (const ColumnPreprocessing& column : encoding.columns()) columns.push_back(ColumnOf(column));
  return columns;
}

int64_t EncodedContextWidth(const density::v1::FlowSpec& spec) {
  if (spec.context_encoding().columns().empty()) return spec.context_features();
  int64_t width = 0;
  for (const ContextColumn& column : ContextColumns(spec.context_encoding())) {
    width += static_cast<int64_t>(column.width);
  }
  return width;
}

size_t EmbeddingRow(const ContextColumn& column, double x) {
  if (std::isnan(x)) return column.accept_missing ? column.missing_row() : 0;
  const double y = Dequantize(column.form, x);
  if (!std::isnan(y)) return static_cast<size_t>(y);
  return column.accept_unknown ? column.unknown_row() : 0;
}

void EncodeNumber(const ContextColumn& column, double x, double* to) {
  const double z = MapToBase(column.form, x).value;
  if (column.kind == ContextColumn::Kind::kNumber) {
    to[0] = z;
    return;
  }
  to[0] = std::cos(z);
  to[1] = std::sin(z);
}

std::string RefuseContextValue(const ContextColumn& column, double x) {
  if (std::isnan(x)) return column.accept_missing ? "" : "is NaN, and the column does not accept missing numbers";
  if (column.is_category()) {
    if (column.accept_unknown || !std::isnan(Dequantize(column.form, x))) return "";
    const auto& codes = column.form.codes;
    const auto end = codes.begin() + static_cast<std::ptrdiff_t>(std::min(codes.size(), kListedCategories));
    return absl::StrCat("is ", x, ", which is none of the column's ", codes.size(), " categories (",
                        absl::StrJoin(codes.begin(), end, ", "), codes.size() > kListedCategories ? ", …)" : ")");
  }
  if (!(std::abs(x) <= std::numeric_limits<float>::max())) {
    return absl::StrCat("is ", x, "; it must be finite and within float32");
  }
  if (std::isfinite(MapToBase(column.form, x).log_slope)) return "";
  if (column.kind == ContextColumn::Kind::kAngle) {
    return absl::StrCat("is ", x, "; the column's angles are within [", column.form.low, ", ", column.form.high, "]");
  }
  return absl::StrCat("is ", x, "; the column's numbers are within (", column.form.low, ", ", column.form.high, ")");
}

}  // namespace densityd::flow
