#include "server/rpc/column_ranges.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "server/flow/column_map.h"
#include "server/flow/support.h"

namespace densityd::rpc {
namespace {

/// How far out a column is looked at: within the numbers that float32 has.
constexpr double kFarthest = std::numeric_limits<float>::max() / 4;

/// More integers than these are integrated over, as if they were numbers.
constexpr double kMostValues = 1024;

/// All values of a column of categories, or of integers within bounds; null for others.
std::shared_ptr<const std::vector<double>> ValuesOf(const density::v1::ModelManifest& manifest, int j) {
  const auto& columns = manifest.spec().layers(0).preprocessing().columns();
  if (j >= columns.size()) return nullptr;
  const flow::ColumnForm form = flow::FormOf(columns[j]);
  std::vector<double> values = form.codes;
  std::sort(values.begin(), values.end());
  if (form.is_whole && form.high - form.low <= kMostValues) {
    for (double value = form.low; value < form.high; ++value) values.push_back(value);
  }
  if (values.empty()) return nullptr;
  return std::make_shared<const std::vector<double>>(std::move(values));
}

}  // namespace

std::vector<explain::ColumnRange> ColumnRanges(const density::v1::ModelManifest& manifest) {
  const auto& features = manifest.schema().features();
  const std::vector<flow::Interval> support = flow::DataSupport(manifest.spec());
  if (static_cast<size_t>(features.size()) != support.size()) return {};
  std::vector<explain::ColumnRange> ranges;
  for (int j = 0; j < features.size(); ++j) {
    const density::v1::Column& column = features[j];
    if (!(column.stddev() > 0) || !(column.min() <= column.max())) return {};
    explain::ColumnRange range;
    range.min = column.min();
    range.max = column.max();
    range.center = column.mean();
    range.spread = column.stddev();
    range.support_low = std::max(support[j].low, -kFarthest);
    range.support_high = std::min(support[j].high, kFarthest);
    range.values = ValuesOf(manifest, j);
    ranges.push_back(range);
  }
  return ranges;
}

}  // namespace densityd::rpc
