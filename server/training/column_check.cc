#include "server/training/column_check.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"

namespace densityd::training {
namespace {

using density::v1::Column;

// Rows that the correlations are computed from; what looks duplicated there is then compared in every row.
constexpr size_t kProbeRows = 4096;
constexpr double kProbeTolerance = 1e-9;
constexpr double kTolerance = 1e-6;

double Standardized(double value, const Column& column) { return (value - column.mean()) / column.stddev(); }

// +1 or -1 where columns a and b look like linear functions of each other in the first rows, else 0.
double ProbeSign(const std::vector<double>& a, const std::vector<double>& b) {
  double products = 0;
  double squares_a = 0;
  double squares_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    products += a[i] * b[i];
    squares_a += a[i] * a[i];
    squares_b += b[i] * b[i];
  }
  const double norm = std::sqrt(squares_a * squares_b);
  // Missing numbers make it NaN: a column with them is no function of another one.
  if (!(std::abs(products) >= (1 - kProbeTolerance) * norm)) return 0;
  return products < 0 ? -1 : 1;
}

bool HasNoise(const std::vector<bool>& dequantised, size_t column) {
  return column < dequantised.size() && dequantised[column];
}

// Of one column.
struct Moments {
  double rows = 0;
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  // Differences from the first value: a column far from 0 would lose its digits otherwise.
  double origin = 0;
  double sum = 0;
  double mean = 0;
  double squares = 0;  // over the rows

  void Add(double value) {
    if (std::isnan(value)) return;
    if (rows++ == 0) origin = value;
    low = std::min(low, value);
    high = std::max(high, value);
    sum += value - origin;
  }
  double Mean() const { return rows == 0 ? 0 : origin + sum / rows; }
  void AddSquare(double value) {
    if (!std::isnan(value)) squares += (value - mean) * (value - mean) / rows;
  }
};

bool AgreeInEveryRow(absl::Span<const double> values, absl::Span<const Column> columns, size_t a, size_t b,
                     double sign) {
  for (size_t begin = 0; begin < values.size(); begin += columns.size()) {
    const double difference =
        Standardized(values[begin + a], columns[a]) - sign * Standardized(values[begin + b], columns[b]);
    if (std::abs(difference) > kTolerance) return false;
  }
  return true;
}

}  // namespace

std::vector<Column> Summarize(absl::Span<const double> values, size_t cols) {
  std::vector<Moments> moments(cols);
  for (size_t row = 0; row < values.size(); row += cols) {
    for (size_t i = 0; i < cols; ++i) moments[i].Add(values[row + i]);
  }
  for (Moments& of_column : moments) of_column.mean = of_column.Mean();
  for (size_t row = 0; row < values.size(); row += cols) {
    for (size_t i = 0; i < cols; ++i) moments[i].AddSquare(values[row + i]);
  }
  std::vector<Column> summaries(cols);
  for (size_t i = 0; i < cols; ++i) {
    summaries[i].set_min(moments[i].low);
    summaries[i].set_max(moments[i].high);
    summaries[i].set_mean(moments[i].mean);
    summaries[i].set_stddev(std::sqrt(moments[i].squares));
  }
  return summaries;
}

absl::Status CheckNotConstant(absl::Span<const Column> columns, size_t features, const std::vector<bool>& dequantised) {
  for (size_t i = 0; i < columns.size(); ++i) {
    if (HasNoise(dequantised, i)) continue;
    const Column& column = columns[i];
    const char* field = i < features ? "feature_columns" : "context_columns";
    if (!(column.min() < column.max())) {
      return InvalidArgument(field, absl::StrCat("column ", Quote(column.name()), " is constant (", column.min(),
                                                 " in every row of the train split), so that its density is unbounded; "
                                                 "leave it out"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckNotDuplicated(absl::Span<const double> values, absl::Span<const Column> columns, size_t features,
                                const std::vector<bool>& dequantised) {
  const size_t cols = columns.size();
  const size_t rows = std::min(kProbeRows, values.size() / cols);
  std::vector<std::vector<double>> probes(cols, std::vector<double>(rows));
  for (size_t row = 0; row < rows; ++row) {
    for (size_t i = 0; i < cols; ++i) probes[i][row] = Standardized(values[row * cols + i], columns[i]);
  }
  for (size_t a = 0; a < features; ++a) {
    for (size_t b = a + 1; b < cols; ++b) {
      if (HasNoise(dequantised, a) && (b >= features || HasNoise(dequantised, b))) continue;
      const double sign = ProbeSign(probes[a], probes[b]);
      if (sign == 0 || !AgreeInEveryRow(values, columns, a, b, sign)) continue;
      return InvalidArgument(
          "feature_columns",
          absl::StrCat("columns ", Quote(columns[a].name()), " and ", Quote(columns[b].name()),
                       " are duplicates: one is a linear function of the other in every row, so that "
                       "the density is unbounded; leave one out"));
    }
  }
  return absl::OkStatus();
}

}  // namespace densityd::training
