#include <algorithm>

#include "server/flow/row_shape.h"
#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

using density::v1::Activation;
using density::v1::Affine;
using density::v1::Autoregressive;
using density::v1::BaseDistribution;
using density::v1::Bijection;
using density::v1::Conditioner;
using density::v1::FlowSpec;
using density::v1::Layer;
using density::v1::Mask;
using density::v1::MixtureCdf;
using density::v1::Mlp;
using density::v1::Orthogonal;
using density::v1::Permutation;
using density::v1::RationalQuadraticSpline;
using density::v1::Univariate;

constexpr uint32_t kMaxDefaultReflections = 32;
constexpr uint32_t kDefaultSylvesterUnits = 8;

Activation OrRelu(Activation activation) {
  return activation == density::v1::ACTIVATION_UNSPECIFIED ? density::v1::RELU : activation;
}

void FillSpline(RationalQuadraticSpline& spline) {
  if (spline.bins() == 0) spline.set_bins(8);
  if (spline.bound() == 0) spline.set_bound(3);
  if (spline.parameterization() == RationalQuadraticSpline::PARAMETERIZATION_UNSPECIFIED) {
    spline.set_parameterization(RationalQuadraticSpline::SOFTPLUS);
  }
  if (spline.parameterization() == RationalQuadraticSpline::SOFTPLUS) {
    if (!spline.has_min_width()) spline.set_min_width(1e-3);
    if (!spline.has_min_height()) spline.set_min_height(1e-3);
  }
  if (!spline.has_min_slope()) spline.set_min_slope(1e-3);
  if (!spline.circular().empty() && spline.circle() == RationalQuadraticSpline::CIRCLE_UNSPECIFIED) {
    spline.set_circle(RationalQuadraticSpline::LEARNT_TURN);
  }
}

void FillAffine(Affine& affine) {
  if (affine.scale_function() == Affine::SCALE_FUNCTION_UNSPECIFIED) affine.set_scale_function(Affine::TANH);
  if (affine.direction() == Affine::DIRECTION_UNSPECIFIED) affine.set_direction(Affine::FORWARD);
  switch (affine.scale_function()) {
    case Affine::SOFTPLUS:
    case Affine::SIGMOID:
      if (!affine.has_min_scale()) affine.set_min_scale(1e-3);
      if (affine.scale_function() == Affine::SIGMOID && !affine.has_max_scale()) affine.set_max_scale(2);
      break;
    case Affine::EXP:
      break;
    default:
      if (affine.max_log_scale() == 0) affine.set_max_log_scale(3);
  }
}

void FillMixtureCdf(MixtureCdf& mixture) {
  if (mixture.components() == 0) mixture.set_components(8);
  if (mixture.family() == MixtureCdf::FAMILY_UNSPECIFIED) mixture.set_family(MixtureCdf::NORMAL);
  if (mixture.layers() == 0) mixture.set_layers(1);
  if (mixture.max_log_scale() == 0) mixture.set_max_log_scale(5);
}

void FillUnivariate(Univariate& univariate) {
  if (univariate.has_shift()) return;
  if (univariate.has_rational_quadratic_spline()) return FillSpline(*univariate.mutable_rational_quadratic_spline());
  if (univariate.has_mixture_cdf()) return FillMixtureCdf(*univariate.mutable_mixture_cdf());
  FillAffine(*univariate.mutable_affine());
}

void FillConditioner(Conditioner& conditioner) {
  if (conditioner.has_residual_mlp()) {
    auto& residual = *conditioner.mutable_residual_mlp();
    if (residual.hidden() == 0) residual.set_hidden(64);
    if (residual.blocks() == 0) residual.set_blocks(2);
    residual.set_activation(OrRelu(residual.activation()));
    return;
  }
  if (conditioner.has_conv_resnet()) {
    auto& network = *conditioner.mutable_conv_resnet();
    if (network.channels() == 0) network.set_channels(64);
    if (network.blocks() == 0) network.set_blocks(2);
    network.set_activation(OrRelu(network.activation()));
    return;
  }
  auto& mlp = *conditioner.mutable_mlp();
  if (mlp.hidden().empty()) mlp.mutable_hidden()->Resize(2, 64);
  mlp.set_activation(OrRelu(mlp.activation()));
}

void FillBijection(Bijection& bijection) {
  if (bijection.kind() == Bijection::AFFINE && !bijection.has_scale()) bijection.set_scale(1);
  if (bijection.kind() == Bijection::LEAKY_RELU_BIJECTION && !bijection.has_slope()) bijection.set_slope(0.01);
}

void FillCoupling(density::v1::Coupling& coupling) {
  Mask& mask = *coupling.mutable_mask();
  if (mask.transformed().empty() && mask.pattern() == Mask::PATTERN_UNSPECIFIED) {
    mask.set_pattern(Mask::ALTERNATING_ODD);
  }
  FillUnivariate(*coupling.mutable_univariate());
  // Unset means columns that pass unchanged.
  if (coupling.has_passed_univariate()) FillUnivariate(*coupling.mutable_passed_univariate());
  FillConditioner(*coupling.mutable_conditioner());
}

void FillAutoregressive(Autoregressive& layer) {
  if (layer.parallel() == Autoregressive::PARALLEL_DIRECTION_UNSPECIFIED) layer.set_parallel(Autoregressive::DENSITY);
  if (layer.columns().empty() && layer.order() == Autoregressive::ORDER_UNSPECIFIED) {
    layer.set_order(Autoregressive::NATURAL);
  }
  FillUnivariate(*layer.mutable_univariate());
  FillConditioner(*layer.mutable_conditioner());
}

void FillBase(BaseDistribution& base) {
  switch (base.kind_case()) {
    case BaseDistribution::KIND_NOT_SET:
      base.mutable_standard_normal();
      return;
    case BaseDistribution::kStudentT:
      if (base.student_t().degrees() == 0) base.mutable_student_t()->set_degrees(10);
      return;
    case BaseDistribution::kGaussianMixture:
      if (base.gaussian_mixture().components() == 0) base.mutable_gaussian_mixture()->set_components(8);
      return;
    case BaseDistribution::kUniformBox:
      if (!base.uniform_box().has_low()) base.mutable_uniform_box()->set_low(0);
      if (!base.uniform_box().has_high()) base.mutable_uniform_box()->set_high(1);
      return;
    case BaseDistribution::kConditionalDiagonalNormal:
      return FillConditioner(*base.mutable_conditional_diagonal_normal()->mutable_conditioner());
    case BaseDistribution::kProduct:
      for (auto& group : *base.mutable_product()->mutable_groups()) FillBase(*group.mutable_base());
      return;
    default:
      return;
  }
}

void FillRotation(Layer& layer, uint32_t features) {
  if (layer.has_householder() && layer.householder().reflections() == 0) {
    layer.mutable_householder()->set_reflections(std::min(kMaxDefaultReflections, features + features % 2));
  }
  if (layer.has_orthogonal() && layer.orthogonal().map() == Orthogonal::MAP_UNSPECIFIED) {
    layer.mutable_orthogonal()->set_map(Orthogonal::MATRIX_EXPONENTIAL);
  }
}

template <typename Bend>
void FillBend(Bend& bend) {
  if (bend.parallel() == Autoregressive::PARALLEL_DIRECTION_UNSPECIFIED) bend.set_parallel(Autoregressive::DENSITY);
  // Unset means numbers that do not depend on the context.
  if (bend.has_conditioner()) FillConditioner(*bend.mutable_conditioner());
}

void FillSylvester(density::v1::Sylvester& layer, uint32_t features) {
  if (layer.hidden() == 0) layer.set_hidden(std::min(kDefaultSylvesterUnits, features));
  if (layer.parallel() == Autoregressive::PARALLEL_DIRECTION_UNSPECIFIED) layer.set_parallel(Autoregressive::DENSITY);
}

void FillResidual(density::v1::Residual& layer) {
  Mlp& network = *layer.mutable_network();
  if (network.hidden().empty()) network.mutable_hidden()->Resize(2, 64);
  if (network.activation() == density::v1::ACTIVATION_UNSPECIFIED) network.set_activation(density::v1::ELU);
  if (layer.coefficient() == 0) layer.set_coefficient(0.9);
  if (!layer.has_exact_trace_features()) layer.set_exact_trace_features(16);
  if (layer.series_terms() == 0) layer.set_series_terms(20);
  if (layer.probes() == 0) layer.set_probes(1);
  if (layer.tolerance() == 0) layer.set_tolerance(1e-6);
}

void FillContinuous(density::v1::Continuous& layer) {
  Mlp& network = *layer.mutable_network();
  if (network.hidden().empty()) network.mutable_hidden()->Resize(3, 64);
  if (network.activation() == density::v1::ACTIVATION_UNSPECIFIED) network.set_activation(density::v1::TANH);
  if (layer.atol() == 0) layer.set_atol(1e-5);
  if (layer.rtol() == 0) layer.set_rtol(1e-5);
  if (layer.max_steps() == 0) layer.set_max_steps(1000);
  if (!layer.has_exact_trace_features()) layer.set_exact_trace_features(16);
  if (layer.probes() == 0) layer.set_probes(1);
  if (layer.objective() == density::v1::Continuous::OBJECTIVE_UNSPECIFIED) {
    layer.set_objective(density::v1::Continuous::MAXIMUM_LIKELIHOOD);
  }
}

void FillPermutation(Permutation& permutation) {
  if (permutation.columns().empty() && permutation.kind() == Permutation::KIND_UNSPECIFIED) {
    permutation.set_kind(Permutation::REVERSE);
  }
}

void FillLayer(Layer& layer, uint32_t features) {
  if (layer.has_elementwise()) {
    FillUnivariate(*layer.mutable_elementwise()->mutable_univariate());
    // Unset means parameters that do not depend on the context.
    if (layer.elementwise().has_conditioner()) FillConditioner(*layer.mutable_elementwise()->mutable_conditioner());
  }
  if (layer.has_coupling()) FillCoupling(*layer.mutable_coupling());
  if (layer.has_autoregressive()) FillAutoregressive(*layer.mutable_autoregressive());
  if (layer.has_permutation()) FillPermutation(*layer.mutable_permutation());
  if (layer.has_bijection()) FillBijection(*layer.mutable_bijection());
  FillRotation(layer, features);
  if (layer.has_residual()) FillResidual(*layer.mutable_residual());
  if (layer.has_continuous()) FillContinuous(*layer.mutable_continuous());
  if (layer.has_planar()) FillBend(*layer.mutable_planar());
  if (layer.has_radial()) FillBend(*layer.mutable_radial());
  if (layer.has_sylvester()) FillSylvester(*layer.mutable_sylvester(), features);
  if (layer.has_split()) FillConditioner(*layer.mutable_split()->mutable_conditioner());
  // Unset means no permutation.
  if (layer.invertible_convolution().has_permutation()) {
    FillPermutation(*layer.mutable_invertible_convolution()->mutable_permutation());
  }
}

}  // namespace

FlowSpec WithDefaults(FlowSpec spec) {
  FillBase(*spec.mutable_base());
  RowShape shape = DataShape(spec);
  for (Layer& layer : *spec.mutable_layers()) {
    FillLayer(layer, static_cast<uint32_t>(shape.columns));
    shape = ShapeAfter(layer, shape);
  }
  return spec;
}

}  // namespace densityd::flow
