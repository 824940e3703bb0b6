#include "server/engine/cuda/capturable.h"

#include "absl/strings/str_cat.h"
#include "server/flow/spec.h"

namespace densityd::engine::cuda {
namespace {

using density::v1::Layer;
using density::v1::Univariate;

bool IsSolvedByIteration(const Univariate& univariate) { return univariate.has_mixture_cdf(); }

/// Whether the layer takes the same steps for all rows. New kinds of layers are none until somebody looked.
bool TakesTheSameSteps(const Layer& layer) {
  switch (layer.kind_case()) {
    case Layer::kElementwise:
      return !IsSolvedByIteration(layer.elementwise().univariate());
    case Layer::kCoupling:
      return !IsSolvedByIteration(layer.coupling().univariate());
    case Layer::kAutoregressive:
      return !IsSolvedByIteration(layer.autoregressive().univariate());
    case Layer::kStandardize:
    case Layer::kPermutation:
    case Layer::kLuLinear:
    case Layer::kActnorm:
    case Layer::kBijection:
    case Layer::kFullAffine:
    case Layer::kHouseholder:
    case Layer::kOrthogonal:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string ObstacleToGraphs(const density::v1::FlowSpec& spec) {
  if (flow::NoiseColumns(spec.base(), spec.features()) != static_cast<int64_t>(spec.features())) {
    return "base: needs other noise than one number per column";
  }
  if (spec.has_context_encoding()) return "context_encoding: is not known to be the same steps for all rows";
  for (int i = 0; i < spec.layers_size(); ++i) {
    if (!TakesTheSameSteps(spec.layers(i))) {
      return absl::StrCat("layers[", i, "]: takes steps that depend on the rows, which a CUDA graph cannot");
    }
  }
  return "";
}

}  // namespace densityd::engine::cuda
