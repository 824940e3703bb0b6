#include "server/rpc/column_ranges.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "server/flow/column_map.h"
#include "server/flow/support.h"

namespace densityd::rpc {
namespace {

/// How far out a column is looked at: within the numbers that float32 has.
constexpr double kFarthest = std::numeric_limits<float>::max() / 4;

/// The map of column j; that of plain numbers where they are not preprocessed.
flow::ColumnForm FormOf(const density::v1::ModelManifest& manifest, int j) {
  const auto& columns = manifest.spec().layers(0).preprocessing().columns();
  return j < columns.size() ? flow::FormOf(columns[j]) : flow::ColumnForm();
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
    flow::ColumnForm form = FormOf(manifest, j);
    range.is_whole = form.is_whole;
    range.is_circle = form.shape == flow::ColumnForm::Shape::kCircle;
    if (!form.codes.empty()) {
      std::sort(form.codes.begin(), form.codes.end());
      range.values = std::make_shared<const std::vector<double>>(std::move(form.codes));
    }
    ranges.push_back(range);
  }
  return ranges;
}

}  // namespace densityd::rpc
