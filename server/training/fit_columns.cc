#include "server/training/fit_columns.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"
#include "server/flow/column_map.h"
#include "server/flow/fit_preprocessing.h"
#include "server/flow/rounded_ends.h"
#include "server/flow/support.h"

namespace densityd::training {
namespace {

using density::v1::ColumnPreprocessing;
using density::v1::FlowSpec;
using density::v1::Preprocessing;
using flow::ColumnRole;
using flow::ColumnRows;

constexpr char kLayer[] = "spec.layers[0].preprocessing";

template <typename Columns>
void NameColumns(const Columns& schema, Preprocessing& preprocessing) {
  while (preprocessing.columns_size() < schema.size()) preprocessing.add_columns();
  for (int i = 0; i < schema.size(); ++i) preprocessing.mutable_columns(i)->set_name(schema[i].name());
}

absl::Status Fit(const ColumnRows& train, const ColumnRows& validation, ColumnRole role, const std::string& field,
                 Preprocessing& preprocessing) {
  absl::Status status = flow::FitPreprocessing(train, validation, role, field, preprocessing);
  for (const ColumnRows& rows : {train, validation}) {
    if (status.ok()) status = flow::CheckWithinSupport(rows, role, field, preprocessing);
  }
  return status;
}

std::string Lower(const std::string& name) { return absl::AsciiStrToLower(name); }

void Describe(const Preprocessing& preprocessing, std::vector<std::string>& lines) {
  for (const ColumnPreprocessing& column : preprocessing.columns()) {
    if (column.reason().empty()) continue;
    lines.push_back(absl::StrCat(column.name(), ": ", Lower(ColumnPreprocessing::Kind_Name(column.kind())), ", ",
                                 Lower(ColumnPreprocessing::Scaling_Name(column.scaling())), ": ", column.reason()));
  }
}

}  // namespace

absl::Status FitColumns(const TrainingData& data, FlowSpec& spec) {
  const size_t width = data.features + data.context_features;
  if (spec.has_context_encoding()) {
    Preprocessing& encoding = *spec.mutable_context_encoding();
    NameColumns(data.schema.context(), encoding);
    absl::Status status = Fit({data.train.values, width, data.features, data.context_features},
                              {data.validation.values, width, data.features, data.context_features},
                              ColumnRole::kContext, "spec.context_encoding", encoding);
    if (!status.ok()) return status;
  }
  if (!spec.layers(0).has_preprocessing()) return absl::OkStatus();
  Preprocessing& layer = *spec.mutable_layers(0)->mutable_preprocessing();
  NameColumns(data.schema.features(), layer);
  return Fit({data.train.values, width, 0, data.features}, {data.validation.values, width, 0, data.features},
             ColumnRole::kFeatures, kLayer, layer);
}

absl::Status CheckWithinDensity(const TrainingData& data, const FlowSpec& fitted) {
  const std::vector<flow::Interval> support = flow::DataSupport(fitted);
  const size_t width = data.features + data.context_features;
  for (const SelectedRows* rows : {&data.train, &data.validation}) {
    for (size_t i = 0; i < rows->rows * width; ++i) {
      const size_t column = i % width;
      if (column >= data.features) continue;
      if (flow::IsWithin(rows->values[i], support[column].low, support[column].high)) continue;
      return InvalidArgument(
          "feature_columns",
          absl::StrCat(
              "column ", Quote(data.schema.features(static_cast<int>(column)).name()), " holds ", rows->values[i],
              ", where the density of this flow is zero: it is defined within [", support[column].low, ", ",
              support[column].high,
              "]. Bring the column into that interval (angles: wrap them), or take a flow that is defined there"));
    }
  }
  return absl::OkStatus();
}

std::vector<bool> MissingContext(const FlowSpec& spec) {
  std::vector<bool> missing;
  for (const ColumnPreprocessing& column : spec.context_encoding().columns()) {
    missing.push_back(column.accept_missing());
  }
  return missing;
}

std::vector<bool> DequantisedColumns(const FlowSpec& spec) {
  std::vector<bool> dequantised;
  for (const ColumnPreprocessing& column : spec.layers(0).preprocessing().columns()) {
    dequantised.push_back(flow::FormOf(column).is_discrete());
  }
  return dequantised;
}

std::vector<std::string> DescribeChoices(const FlowSpec& spec) {
  std::vector<std::string> lines;
  Describe(spec.layers(0).preprocessing(), lines);
  Describe(spec.context_encoding(), lines);
  return lines;
}

}  // namespace densityd::training
