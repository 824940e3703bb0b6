#include <functional>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/flow/columns.h"
#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

using density::v1::Conditioner;
using density::v1::FlowSpec;
using density::v1::Layer;
using density::v1::Univariate;

// Collects tensors by name.
class Tensors {
 public:
  void Add(std::string name, std::vector<int64_t> shape) {
    parameters_.push_back({std::move(name), std::move(shape), /*learnt=*/true});
  }
  void AddState(std::string name, std::vector<int64_t> shape) {
    state_.push_back({std::move(name), std::move(shape), /*learnt=*/false});
  }
  void AddLinear(const std::string& name, int64_t outputs, int64_t inputs) {
    Add(name + ".weight", {outputs, inputs});
    Add(name + ".bias", {outputs});
  }
  std::vector<TensorInfo> Take() {
    parameters_.insert(parameters_.end(), state_.begin(), state_.end());
    return std::move(parameters_);
  }

 private:
  std::vector<TensorInfo> parameters_;
  std::vector<TensorInfo> state_;
};

void AddConditioner(const Conditioner& conditioner, int64_t inputs, int64_t outputs, const std::string& name,
                    Tensors& tensors) {
  if (conditioner.has_residual_mlp()) {
    const int64_t width = conditioner.residual_mlp().hidden();
    tensors.AddLinear(name + ".input", width, inputs);
    for (uint32_t block = 0; block < conditioner.residual_mlp().blocks(); ++block) {
      tensors.AddLinear(absl::StrCat(name, ".blocks.", block, ".0"), width, width);
      tensors.AddLinear(absl::StrCat(name, ".blocks.", block, ".1"), width, width);
    }
    tensors.AddLinear(name + ".output", outputs, width);
    return;
  }
  int k = 0;
  for (int64_t width : conditioner.mlp().hidden()) {
    tensors.AddLinear(absl::StrCat(name, ".", k++), width, std::exchange(inputs, width));
  }
  tensors.AddLinear(absl::StrCat(name, ".", k), outputs, inputs);
}

void AddLayer(const Layer& layer, int64_t features, int64_t context, const std::string& name, Tensors& tensors) {
  switch (layer.kind_case()) {
    case Layer::kElementwise: {
      const int64_t parameters = UnivariateParameters(layer.elementwise().univariate());
      if (context == 0 || !layer.elementwise().has_conditioner()) {
        return tensors.Add(name + ".theta", {features, parameters});
      }
      return AddConditioner(layer.elementwise().conditioner(), context, features * parameters, name + ".conditioner",
                            tensors);
    }
    case Layer::kCoupling: {
      const auto& coupling = layer.coupling();
      const int64_t transformed = static_cast<int64_t>(TransformedColumns(coupling.mask(), features).size());
      return AddConditioner(coupling.conditioner(), features - transformed + context,
                            transformed * UnivariateParameters(coupling.univariate()), name + ".conditioner", tensors);
    }
    case Layer::kAutoregressive:
      return AddConditioner(layer.autoregressive().conditioner(), features + context,
                            features * UnivariateParameters(layer.autoregressive().univariate()), name + ".conditioner",
                            tensors);
    case Layer::kLuLinear:
      tensors.Add(name + ".lu", {features, features});
      return tensors.Add(name + ".bias", {features});
    case Layer::kActnorm:
      tensors.Add(name + ".log_scale", {features});
      tensors.Add(name + ".shift", {features});
      return tensors.AddState(name + ".initialized", {});
    case Layer::kFullAffine:
      tensors.Add(name + ".lower", {features * (features + 1) / 2});
      return tensors.Add(name + ".shift", {features});
    default:
      return;
  }
}

}  // namespace

int64_t UnivariateParameters(const Univariate& univariate) {
  if (univariate.has_rational_quadratic_spline()) return 3 * univariate.rational_quadratic_spline().bins() - 1;
  return univariate.has_shift() ? 1 : 2;
}

std::vector<TensorInfo> FlowTensors(const FlowSpec& given) {
  const FlowSpec spec = WithDefaults(given);
  const int64_t features = spec.features();
  Tensors tensors;
  if (spec.base().has_diagonal_normal()) {
    tensors.Add("base.mean", {features});
    tensors.Add("base.log_scale", {features});
  }
  for (int i = 0; i < spec.layers_size(); ++i) {
    AddLayer(spec.layers(i), features, spec.context_features(), absl::StrCat("layers.", i), tensors);
  }
  return tensors.Take();
}

uint64_t CountParameters(const FlowSpec& spec) {
  uint64_t count = 0;
  for (const TensorInfo& tensor : FlowTensors(spec)) {
    if (!tensor.learnt) continue;
    count += std::accumulate(tensor.shape.begin(), tensor.shape.end(), uint64_t{1}, std::multiplies<>());
  }
  return count;
}

}  // namespace densityd::flow
