#include <exception>
#include <string_view>
#include <utility>

#include "server/base/errors.h"
#include "server/flow/autoregressive.h"
#include "server/flow/bends.h"
#include "server/flow/column_preprocessing.h"
#include "server/flow/continuous.h"
#include "server/flow/coupling.h"
#include "server/flow/elementwise.h"
#include "server/flow/flow.h"
#include "server/flow/invertible_convolution.h"
#include "server/flow/linear_transforms.h"
#include "server/flow/preprocessing.h"
#include "server/flow/residual.h"
#include "server/flow/rotations.h"
#include "server/flow/spec.h"
#include "server/flow/sylvester.h"

namespace densityd::flow {
namespace {

using density::v1::FlowSpec;
using density::v1::Layer;

std::shared_ptr<Transform> MakeTransform(const Layer& layer, const RowShape& shape, int64_t context_features,
                                         Initializer& initializer) {
  const int64_t features = shape.columns;
  switch (layer.kind_case()) {
    case Layer::kElementwise:
      return std::make_shared<Elementwise>(layer.elementwise(), features, context_features, initializer);
    case Layer::kCoupling:
      return std::make_shared<Coupling>(layer.coupling(), shape, context_features, initializer);
    case Layer::kAutoregressive:
      return std::make_shared<Autoregressive>(layer.autoregressive(), features, context_features, initializer);
    case Layer::kPermutation:
      return std::make_shared<Permutation>(PermutationColumns(layer.permutation(), features));
    case Layer::kSqueeze:
      return std::make_shared<Permutation>(SqueezeColumns(shape));
    case Layer::kSplit:
      return std::make_shared<Coupling>(CouplingOfSplit(layer.split(), shape), shape, context_features, initializer);
    case Layer::kInvertibleConvolution:
      return std::make_shared<InvertibleConvolution>(layer.invertible_convolution(), shape);
    case Layer::kLuLinear:
      return std::make_shared<LuLinear>(features);
    case Layer::kActnorm:
      return std::make_shared<ActNorm>(layer.actnorm(), shape);
    case Layer::kFullAffine:
      return std::make_shared<FullAffine>(features);
    case Layer::kHouseholder:
      return std::make_shared<Householder>(layer.householder(), features, initializer);
    case Layer::kOrthogonal:
      return std::make_shared<Orthogonal>(layer.orthogonal(), features);
    case Layer::kPlanar:
      return std::make_shared<Planar>(layer.planar(), features, context_features, initializer);
    case Layer::kRadial:
      return std::make_shared<Radial>(layer.radial(), features, context_features, initializer);
    case Layer::kSylvester:
      return std::make_shared<Sylvester>(layer.sylvester(), features, initializer);
    case Layer::kResidual:
      return std::make_shared<Residual>(layer.residual(), features, context_features, initializer);
    case Layer::kContinuous:
      return std::make_shared<Continuous>(layer.continuous(), features, context_features, initializer);
    case Layer::kBijection:
      return std::make_shared<Bijection>(layer.bijection(), features);
    case Layer::kPreprocessing:
      return std::make_shared<Preprocessing>(layer.preprocessing());
    default:
      return std::make_shared<Standardize>(layer.standardize());
  }
}

std::shared_ptr<Flow> Make(FlowSpec spec, uint64_t seed) {
  Initializer initializer(seed);
  const int64_t features = spec.features();
  const int64_t context = EncodedContextWidth(spec);
  const std::vector<RowShape> shapes = LayerShapes(spec);
  std::vector<std::shared_ptr<Transform>> layers;
  for (int i = 0; i < spec.layers_size(); ++i) {
    layers.push_back(MakeTransform(spec.layers(i), shapes[i], context, initializer));
  }
  std::shared_ptr<Transform> context_preprocessing;
  if (spec.has_context_preprocessing()) {
    context_preprocessing = std::make_shared<Standardize>(spec.context_preprocessing());
  }
  auto base = MakeBaseDistribution(spec.base(), features, context, initializer);
  std::shared_ptr<ContextEncoding> encoding;
  if (spec.has_context_encoding()) {
    encoding = std::make_shared<ContextEncoding>(spec.context_encoding(), initializer);
  }
  return std::make_shared<Flow>(std::move(spec), std::move(base), std::move(layers), std::move(context_preprocessing),
                                std::move(encoding));
}

}  // namespace

absl::StatusOr<std::shared_ptr<Flow>> BuildFlow(const FlowSpec& spec, uint64_t seed) {
  if (auto status = CheckFlowSpec(spec); !status.ok()) return status;
  if (auto status = CheckFitted(spec); !status.ok()) return status;
  try {
    return Make(WithDefaults(spec), seed);
  } catch (const std::exception& error) {
    // For a checked spec, only an allocation can fail. LibTorch's CPU allocator throws a plain c10::Error.
    const std::string_view what = error.what();
    if (what.find("memory") != what.npos || what.find("bad_alloc") != what.npos) {
      return ResourceExhausted("memory", "not enough memory to build the flow");
    }
    return InternalError(what);
  }
}

}  // namespace densityd::flow
