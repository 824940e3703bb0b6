#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/flow/base_check.h"
#include "server/flow/image_check.h"
#include "server/flow/layer_check.h"
#include "server/flow/preprocessing_check.h"
#include "server/flow/row_shape.h"
#include "server/flow/spec.h"
#include "server/flow/support.h"

namespace densityd::flow {
namespace {

using density::v1::FlowSpec;
using density::v1::Standardize;

constexpr uint32_t kMaxFeatures = 65536;
constexpr int kMaxLayers = 1024;

absl::Status CheckSizes(const FlowSpec& spec, const std::string& field) {
  if (spec.features() < 1 || spec.features() > kMaxFeatures) {
    return InvalidArgument(field + ".features",
                           absl::StrCat("is ", spec.features(), "; it must be 1 … ", kMaxFeatures));
  }
  if (spec.context_features() > kMaxFeatures) {
    return InvalidArgument(field + ".context_features",
                           absl::StrCat("is ", spec.context_features(), "; the limit is ", kMaxFeatures));
  }
  if (spec.layers_size() < 1 || spec.layers_size() > kMaxLayers) {
    return InvalidArgument(field + ".layers",
                           absl::StrCat("has ", spec.layers_size(), " layers; it must have 1 … ", kMaxLayers));
  }
  return absl::OkStatus();
}

absl::Status CheckImage(const FlowSpec& spec, const std::string& field) {
  return spec.has_image() ? CheckImageShape(spec.image(), spec.features(), field) : absl::OkStatus();
}

absl::Status CheckContextPreprocessing(const FlowSpec& spec, const std::string& field) {
  if (!spec.has_context_preprocessing()) return absl::OkStatus();
  if (spec.context_features() == 0) return InvalidArgument(field, "is set, but context_features is 0");
  return CheckStandardize(spec.context_preprocessing(), spec.context_features(), field);
}

absl::Status CheckContextEncoding(const FlowSpec& spec, const std::string& field) {
  if (!spec.has_context_encoding()) return absl::OkStatus();
  if (spec.context_features() == 0) return InvalidArgument(field, "is set, but context_features is 0");
  if (spec.has_context_preprocessing()) {
    return InvalidArgument(field, "is set, and so is context_preprocessing, whose place it takes");
  }
  return CheckPreprocessing(spec.context_encoding(), spec.context_features(), ColumnRole::kContext, field);
}

absl::Status CheckPreprocessingIsFirst(const FlowSpec& spec, const std::string& field) {
  for (int i = 1; i < spec.layers_size(); ++i) {
    if (!spec.layers(i).has_preprocessing()) continue;
    return InvalidArgument(absl::StrCat(field, ".layers[", i, "].preprocessing"),
                           "touches the data, so it must be layers[0]");
  }
  return absl::OkStatus();
}

// Flow matching trains one layer between fixed ones and a fixed base.
absl::Status CheckMatching(const FlowSpec& spec, const std::string& field) {
  for (int i = 0; i < spec.layers_size(); ++i) {
    if (spec.layers(i).continuous().objective() != density::v1::Continuous::FLOW_MATCHING) continue;
    const std::string own = absl::StrCat("layers.", i, ".");
    for (const TensorInfo& tensor : FlowTensors(spec)) {
      if (!tensor.learnt || tensor.name.rfind(own, 0) == 0) continue;
      return InvalidArgument(absl::StrCat(field, ".layers[", i, "].continuous.objective"),
                             absl::StrCat("FLOW_MATCHING trains this layer alone, but ", tensor.name,
                                          " is to be learnt, too; take MAXIMUM_LIKELIHOOD, or leave that part out"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckFittedStandardize(const Standardize& standardize, const std::string& field) {
  if (standardize.mean().empty()) return InvalidArgument(field + ".mean", "is empty: it was not fitted to data");
  if (standardize.scale().empty()) return InvalidArgument(field + ".scale", "is empty: it was not fitted to data");
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckFlowSpec(const FlowSpec& spec, std::string_view field) {
  const std::string path(field);
  if (auto status = CheckSizes(spec, path); !status.ok()) return status;
  if (auto status = CheckImage(spec, path + ".image"); !status.ok()) return status;
  RowShape shape = DataShape(spec);
  for (int i = 0; i < spec.layers_size(); ++i) {
    const std::string layer = absl::StrCat(path, ".layers[", i, "]");
    if (auto status = CheckLayer(spec.layers(i), shape, layer); !status.ok()) return status;
    shape = ShapeAfter(spec.layers(i), shape);
  }
  if (auto status = CheckPreprocessingIsFirst(spec, path); !status.ok()) return status;
  if (auto status = CheckContextPreprocessing(spec, path + ".context_preprocessing"); !status.ok()) return status;
  if (auto status = CheckContextEncoding(spec, path + ".context_encoding"); !status.ok()) return status;
  auto base = CheckBase(spec.base(), spec.features(), spec.context_features(), path + ".base");
  if (!base.ok()) return base;
  if (auto status = CheckSupport(spec, path); !status.ok()) return status;
  if (auto status = CheckMatching(spec, path); !status.ok()) return status;
  if (const uint64_t parameters = CountParameters(spec); parameters > kMaxParameters) {
    return InvalidArgument(path, absl::StrCat("has ", parameters, " learnt parameters; the limit is ", kMaxParameters));
  }
  return absl::OkStatus();
}

absl::Status CheckFitted(const FlowSpec& spec, std::string_view field) {
  const std::string path(field);
  if (spec.layers(0).has_preprocessing()) {
    auto status = CheckFittedPreprocessing(spec.layers(0).preprocessing(), ColumnRole::kFeatures,
                                           path + ".layers[0].preprocessing");
    if (!status.ok()) return status;
  }
  for (int i = 0; i < spec.layers_size(); ++i) {
    if (!spec.layers(i).has_standardize()) continue;
    const std::string layer = absl::StrCat(path, ".layers[", i, "].standardize");
    if (auto status = CheckFittedStandardize(spec.layers(i).standardize(), layer); !status.ok()) return status;
  }
  if (spec.has_context_encoding()) {
    auto status = CheckFittedPreprocessing(spec.context_encoding(), ColumnRole::kContext, path + ".context_encoding");
    if (!status.ok()) return status;
  }
  if (!spec.has_context_preprocessing()) return absl::OkStatus();
  return CheckFittedStandardize(spec.context_preprocessing(), path + ".context_preprocessing");
}

}  // namespace densityd::flow
