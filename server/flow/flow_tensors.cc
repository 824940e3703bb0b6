#include <functional>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/flow/columns.h"
#include "server/flow/context_column.h"
#include "server/flow/row_shape.h"
#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

using density::v1::BaseDistribution;
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

void AddBase(const BaseDistribution& base, int64_t features, int64_t context, const std::string& name,
             Tensors& tensors) {
  switch (base.kind_case()) {
    case BaseDistribution::kDiagonalNormal:
      tensors.Add(name + ".mean", {features});
      return tensors.Add(name + ".log_scale", {features});
    case BaseDistribution::kStudentT:
      if (!base.student_t().fixed()) tensors.Add(name + ".degrees", {features});
      return;
    case BaseDistribution::kGaussianMixture: {
      const int64_t components = base.gaussian_mixture().components();
      tensors.Add(name + ".weights", {components});
      tensors.Add(name + ".means", {components, features});
      return tensors.Add(name + ".log_scales", {components, features});
    }
    case BaseDistribution::kConditionalDiagonalNormal:
      return AddConditioner(base.conditional_diagonal_normal().conditioner(), context, 2 * features,
                            name + ".conditioner", tensors);
    case BaseDistribution::kProduct:
      for (int g = 0; g < base.product().groups_size(); ++g) {
        const auto& group = base.product().groups(g);
        AddBase(group.base(), group.columns_size(), context, absl::StrCat(name, ".groups.", g), tensors);
      }
      return;
    default:
      return;
  }
}

// Channels of the image in which `columns` are.
int64_t ChannelsOf(const Columns& columns, const RowShape& shape) {
  return static_cast<int64_t>(ChannelsWith(columns, shape).size());
}

// Each is a linear layer of the 3 x 3 pixels, or the one, that it sees.
void AddConvResNet(const density::v1::ConvResNet& network, int64_t inputs, int64_t outputs, const std::string& name,
                   Tensors& tensors) {
  const int64_t channels = network.channels();
  tensors.AddLinear(name + ".input", channels, 9 * inputs);
  for (uint32_t block = 0; block < network.blocks(); ++block) {
    tensors.AddLinear(absl::StrCat(name, ".blocks.", block, ".0"), channels, 9 * channels);
    tensors.AddLinear(absl::StrCat(name, ".blocks.", block, ".1"), channels, channels);
  }
  tensors.AddLinear(name + ".output", outputs, 9 * channels);
}

void AddCoupling(const density::v1::Coupling& coupling, const RowShape& shape, int64_t context, const std::string& name,
                 Tensors& tensors) {
  const Columns transformed = TransformedColumns(coupling.mask(), shape);
  const Columns passed = OtherColumns(transformed, shape.columns);
  const int64_t parameters = UnivariateParameters(coupling.univariate());
  if (coupling.has_passed_univariate()) {
    tensors.Add(name + ".passed_theta",
                {static_cast<int64_t>(passed.size()), UnivariateParameters(coupling.passed_univariate())});
  }
  const std::string conditioner = name + ".conditioner";
  if (coupling.conditioner().has_conv_resnet()) {
    return AddConvResNet(coupling.conditioner().conv_resnet(), ChannelsOf(passed, shape) + context,
                         ChannelsOf(transformed, shape) * parameters, conditioner, tensors);
  }
  const auto inputs = static_cast<int64_t>(passed.size() + AngleColumns(coupling.univariate(), passed).size());
  AddConditioner(coupling.conditioner(), inputs + context, static_cast<int64_t>(transformed.size()) * parameters,
                 conditioner, tensors);
}

template <typename Bend>
void AddBend(const Bend& bend, int64_t parameters, int64_t context, const std::string& name, Tensors& tensors) {
  tensors.Add(name + ".theta", {parameters});
  if (context > 0 && bend.has_conditioner()) {
    AddConditioner(bend.conditioner(), context, parameters, name + ".conditioner", tensors);
  }
}

void AddLayer(const Layer& layer, const RowShape& shape, int64_t context, const std::string& name, Tensors& tensors) {
  const int64_t features = shape.columns;
  switch (layer.kind_case()) {
    case Layer::kElementwise: {
      const int64_t parameters = UnivariateParameters(layer.elementwise().univariate());
      if (context == 0 || !layer.elementwise().has_conditioner()) {
        return tensors.Add(name + ".theta", {features, parameters});
      }
      return AddConditioner(layer.elementwise().conditioner(), context, features * parameters, name + ".conditioner",
                            tensors);
    }
    case Layer::kCoupling:
      return AddCoupling(layer.coupling(), shape, context, name, tensors);
    case Layer::kAutoregressive: {
      const Univariate& univariate = layer.autoregressive().univariate();
      const auto circles = static_cast<int64_t>(AngleColumns(univariate, AllColumns(features)).size());
      return AddConditioner(layer.autoregressive().conditioner(), features + circles + context,
                            features * UnivariateParameters(univariate), name + ".conditioner", tensors);
    }
    case Layer::kLuLinear:
      tensors.Add(name + ".lu", {features, features});
      return tensors.Add(name + ".bias", {features});
    case Layer::kActnorm: {
      const int64_t numbers = layer.actnorm().per_channel() ? shape.channels : features;
      tensors.Add(name + ".log_scale", {numbers});
      tensors.Add(name + ".shift", {numbers});
      return tensors.AddState(name + ".initialized", {});
    }
    case Layer::kInvertibleConvolution:
      return tensors.Add(name + ".lu", {shape.channels, shape.channels});
    case Layer::kSplit:
      return AddCoupling(CouplingOfSplit(layer.split(), shape), shape, context, name, tensors);
    case Layer::kHouseholder:
      return tensors.Add(name + ".vectors", {layer.householder().reflections(), features});
    case Layer::kOrthogonal:
      return tensors.Add(name + ".skew", {features * (features - 1) / 2});
    case Layer::kPlanar:
      return AddBend(layer.planar(), 2 * features + 1, context, name + ".parameters", tensors);
    case Layer::kRadial:
      return AddBend(layer.radial(), features + 2, context, name + ".parameters", tensors);
    case Layer::kSylvester: {
      const int64_t hidden = layer.sylvester().hidden();
      tensors.Add(name + ".vectors", {hidden, features});
      tensors.Add(name + ".r1", {hidden * (hidden + 1) / 2});
      tensors.Add(name + ".r2", {hidden * (hidden + 1) / 2});
      return tensors.Add(name + ".bias", {hidden});
    }
    case Layer::kResidual: {
      Conditioner network;
      *network.mutable_mlp() = layer.residual().network();
      return AddConditioner(network, features + context, features, name + ".network", tensors);
    }
    case Layer::kContinuous: {
      Conditioner network;
      *network.mutable_mlp() = layer.continuous().network();
      const int64_t frequencies = layer.continuous().time_frequencies();
      const int64_t times = frequencies > 0 ? 2 * frequencies : 1;
      return AddConditioner(network, features + times + context, features, name + ".network", tensors);
    }
    case Layer::kFullAffine:
      tensors.Add(name + ".lower", {features * (features + 1) / 2});
      return tensors.Add(name + ".shift", {features});
    default:
      return;
  }
}

void AddEncoding(const density::v1::Preprocessing& encoding, Tensors& tensors) {
  int j = 0;
  for (const ContextColumn& column : ContextColumns(encoding)) {
    const std::string name = absl::StrCat("context_encoding.", j++);
    if (column.is_category()) {
      tensors.Add(name + ".embedding",
                  {static_cast<int64_t>(column.embedding_rows), static_cast<int64_t>(column.width)});
    } else if (column.has_flag()) {
      tensors.Add(name + ".missing", {static_cast<int64_t>(column.values())});
    }
  }
}

}  // namespace

int64_t UnivariateParameters(const Univariate& univariate) {
  if (univariate.has_rational_quadratic_spline()) {
    const auto& spline = univariate.rational_quadratic_spline();
    const bool turns = !spline.circular().empty() && spline.circle() != density::v1::RationalQuadraticSpline::HALF_TURN;
    return 3 * int64_t{spline.bins()} + (turns ? 1 : -1);
  }
  if (univariate.has_mixture_cdf()) {
    return 3 * int64_t{univariate.mixture_cdf().components()} * univariate.mixture_cdf().layers();
  }
  return univariate.has_shift() ? 1 : 2;
}

int64_t NoiseColumns(const BaseDistribution& base, int64_t features) {
  switch (base.kind_case()) {
    case BaseDistribution::kStudentT:
      return 2 * features;
    case BaseDistribution::kGaussianMixture:
      return features + 1;
    case BaseDistribution::kProduct: {
      int64_t sum = 0;
      for (const auto& group : base.product().groups()) sum += NoiseColumns(group.base(), group.columns_size());
      return sum;
    }
    default:
      return features;
  }
}

std::vector<TensorInfo> FlowTensors(const FlowSpec& given) {
  const FlowSpec spec = WithDefaults(given);
  const int64_t features = spec.features();
  Tensors tensors;
  const int64_t context = EncodedContextWidth(spec);
  AddBase(spec.base(), features, context, "base", tensors);
  const std::vector<RowShape> shapes = LayerShapes(spec);
  for (int i = 0; i < spec.layers_size(); ++i) {
    AddLayer(spec.layers(i), shapes[i], context, absl::StrCat("layers.", i), tensors);
  }
  AddEncoding(spec.context_encoding(), tensors);
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
