#include "server/rpc/column_ranges.h"

#include <algorithm>
#include <limits>

#include "server/flow/support.h"

namespace densityd::rpc {
namespace {

/// How far out a column is looked at: within the numbers that float32 has.
constexpr double kFarthest = std::numeric_limits<float>::max() / 4;

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
    ranges.push_back(range);
  }
  return ranges;
}

}  // namespace densityd::rpc
