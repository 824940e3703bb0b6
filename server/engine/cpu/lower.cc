#include "server/engine/cpu/lower.h"

#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/cpu/compilable.h"
#include "server/engine/cpu/fold.h"
#include "server/engine/cpu/lower_affine.h"
#include "server/engine/cpu/lower_network.h"
#include "server/engine/cpu/lower_rotation.h"
#include "server/engine/cpu/lower_univariate.h"
#include "server/engine/cpu/tensor_reader.h"
#include "server/flow/columns.h"
#include "server/flow/spec.h"

namespace densityd::engine::cpu {
namespace {

using density::v1::Autoregressive;
using density::v1::Bijection;
using density::v1::FlowSpec;
using density::v1::Layer;

constexpr double kLog2E = 1.442695040888963407359924681002;

/// Brings the parameters of splines, outputs of `network`, to base 2, as SplineForm wants them: kernels then raise 2 to
/// them without a multiplication.
void ToBase2(const UnivariateMap& univariate, Network& network) {
  if (univariate.forward != MapKind::kSplineForward) return;
  const size_t bins = (univariate.parameters + 1) / 3;
  const size_t logarithms = univariate.spline.soft_clip ? 3 * bins : 2 * bins;
  Linear& output = network.layers.back();
  for (size_t unit = 0; unit < output.units(); ++unit) {
    if (unit % univariate.parameters >= logarithms) continue;
    output.bias[unit] *= kLog2E;
    for (size_t input = 0; input < output.inputs(); ++input) output.weight(unit, input) *= kLog2E;
  }
}

/// Lowers one layer after the other.
class Lowering {
 public:
  Lowering(const FlowSpec& spec, const TensorReader& tensors)
      : tensors_(tensors), features_(spec.features()), context_(flow::EncodedContextWidth(spec)) {}

  /// Appends `layer`, whose tensors begin with `name`. UNIMPLEMENTED where it has no compiled form.
  absl::Status Append(const Layer& layer, const std::string& name, std::vector<LoweredLayer>& to) const {
    switch (layer.kind_case()) {
      case Layer::kStandardize:
        to.push_back(LowerStandardize(layer.standardize()));
        return absl::OkStatus();
      case Layer::kElementwise:
        to.push_back(LowerElementwise(layer.elementwise(), name));
        return absl::OkStatus();
      case Layer::kCoupling:
        to.push_back(LowerCoupling(layer.coupling(), name));
        return absl::OkStatus();
      case Layer::kAutoregressive:
        to.push_back(LowerAutoregressive(layer.autoregressive(), name));
        return absl::OkStatus();
      case Layer::kPermutation:
        to.push_back(PermutationLayer{flow::PermutationColumns(layer.permutation(), features_)});
        return absl::OkStatus();
      case Layer::kLuLinear:
        to.push_back(LowerLu(tensors_.Matrix(name + ".lu"), tensors_.Vector(name + ".bias")));
        return absl::OkStatus();
      case Layer::kActnorm:
        to.push_back(LowerActNorm(tensors_.Vector(name + ".log_scale"), tensors_.Vector(name + ".shift")));
        return absl::OkStatus();
      case Layer::kHouseholder:
        to.push_back(LowerHouseholder(tensors_.Matrix(name + ".vectors")));
        return absl::OkStatus();
      case Layer::kOrthogonal:
        to.push_back(LowerOrthogonal(tensors_.Vector(name + ".skew"), layer.orthogonal().map(), features_));
        return absl::OkStatus();
      case Layer::kBijection:
        to.push_back(LowerBijection(layer.bijection(), features_));
        return absl::OkStatus();
      case Layer::kFullAffine: {
        FullAffineLayers layers = LowerFullAffine(tensors_.Vector(name + ".lower"), tensors_.Vector(name + ".shift"));
        to.push_back(std::move(layers.centre));
        to.push_back(std::move(layers.matrix));
        return absl::OkStatus();
      }
      default:
        break;
    }
    return absl::UnimplementedError(absl::StrCat(name, ": this kind of layer has no compiled form"));
  }

 private:
  LoweredLayer LowerElementwise(const density::v1::Elementwise& layer, const std::string& name) const {
    const UnivariateMap univariate = LowerUnivariate(layer.univariate());
    const bool is_constant = context_ == 0 || !layer.has_conditioner();
    if (is_constant && univariate.is_plain()) {
      return LowerConstantElementwise(univariate, tensors_.Matrix(name + ".theta"));
    }
    ConditionedLayer lowered;
    lowered.network = is_constant ? ConstantNetwork(tensors_.Matrix(name + ".theta"))
                                  : LowerNetwork(layer.conditioner(), name + ".conditioner", tensors_, 0, context_);
    ToBase2(univariate, lowered.network);
    lowered.univariate = univariate;
    for (int64_t column = 0; column < features_; ++column) lowered.outputs.push_back(column);
    return lowered;
  }

  LoweredLayer LowerCoupling(const density::v1::Coupling& layer, const std::string& name) const {
    ConditionedLayer lowered;
    lowered.univariate = LowerUnivariate(layer.univariate());
    lowered.outputs = flow::TransformedColumns(layer.mask(), features_);
    lowered.inputs = flow::OtherColumns(lowered.outputs, features_);
    lowered.network = LowerNetwork(layer.conditioner(), name + ".conditioner", tensors_,
                                   static_cast<int64_t>(lowered.inputs.size()), context_);
    ToBase2(lowered.univariate, lowered.network);
    return lowered;
  }

  LoweredLayer LowerAutoregressive(const Autoregressive& layer, const std::string& name) const {
    ConditionedLayer lowered;
    lowered.univariate = LowerUnivariate(layer.univariate());
    lowered.autoregressive = true;
    lowered.parallel_inverse = layer.parallel() != Autoregressive::SAMPLING;
    const flow::Columns order = flow::AutoregressiveOrder(layer, features_);
    lowered.inputs = lowered.outputs = order;
    lowered.network = LowerMaskedNetwork(layer.conditioner(), name + ".conditioner", tensors_, order, context_,
                                         flow::UnivariateParameters(layer.univariate()));
    ToBase2(lowered.univariate, lowered.network);
    return lowered;
  }

  const TensorReader& tensors_;
  const int64_t features_;
  const int64_t context_;
};

/// Columns that are all scaled only become a layer like any other, which is folded with its neighbours.
void LowerPreprocessing(const density::v1::Preprocessing& preprocessing, LoweredFlow& lowered) {
  DiagonalLayer diagonal;
  bool is_diagonal = true;
  for (const auto& column : preprocessing.columns()) {
    const flow::ColumnForm& form = lowered.edge.columns.emplace_back(flow::FormOf(column));
    is_diagonal &= form.is_affine();
    diagonal.center.push_back(form.center);
    diagonal.factor.push_back(1 / form.scale);
  }
  if (!is_diagonal) return;
  lowered.edge.columns.clear();
  lowered.layers.push_back(std::move(diagonal));
}

void LowerContext(const density::v1::Preprocessing& encoding, const TensorReader& tensors, LoweredFlow& lowered) {
  for (flow::ContextColumn& column : flow::ContextColumns(encoding)) {
    const std::string name = absl::StrCat("context_encoding.", lowered.edge.context.size());
    std::vector<double> learnt;
    if (column.is_category()) learnt = tensors.Vector(name + ".embedding");
    if (column.has_flag()) learnt = tensors.Vector(name + ".missing");
    lowered.edge.context.push_back({std::move(column), std::vector<float>(learnt.begin(), learnt.end())});
  }
}

}  // namespace

absl::StatusOr<LoweredFlow> LowerFlow(const FlowSpec& given, absl::Span<const registry::Tensor> tensors) {
  absl::Status status = flow::CheckFlowSpec(given);
  if (status.ok()) status = flow::CheckFitted(given);
  if (!status.ok()) return status;
  const FlowSpec spec = flow::WithDefaults(given);
  status = CheckCompilable(spec);
  if (!status.ok()) return status;
  absl::StatusOr<TensorReader> reader = TensorReader::Create(tensors, flow::FlowTensors(spec));
  if (!reader.ok()) return reader.status();

  LoweredFlow lowered;
  lowered.features = spec.features();
  lowered.context_features = static_cast<size_t>(flow::EncodedContextWidth(spec));
  if (spec.has_context_encoding()) LowerContext(spec.context_encoding(), *reader, lowered);
  if (spec.has_context_preprocessing()) lowered.context = LowerStandardize(spec.context_preprocessing());
  const Lowering lowering(spec, *reader);
  for (int i = 0; i < spec.layers_size(); ++i) {
    if (spec.layers(i).has_preprocessing()) {
      LowerPreprocessing(spec.layers(i).preprocessing(), lowered);
      continue;
    }
    status = lowering.Append(spec.layers(i), absl::StrCat("layers.", i), lowered.layers);
    if (!status.ok()) return status;
  }
  lowered.layers = FoldAffineLayers(std::move(lowered.layers));
  if (spec.base().has_diagonal_normal()) {
    lowered.base_mean = reader->Vector("base.mean");
    lowered.base_log_scale = reader->Vector("base.log_scale");
    const double bound = std::log(1e3);
    for (double& number : lowered.base_log_scale) number = bound * std::tanh(number / bound);
  }
  return lowered;
}

}  // namespace densityd::engine::cpu
