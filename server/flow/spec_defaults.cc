#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

using density::v1::Activation;
using density::v1::Affine;
using density::v1::Autoregressive;
using density::v1::Bijection;
using density::v1::Conditioner;
using density::v1::FlowSpec;
using density::v1::Layer;
using density::v1::Mask;
using density::v1::Permutation;
using density::v1::RationalQuadraticSpline;
using density::v1::Univariate;

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

void FillUnivariate(Univariate& univariate) {
  if (univariate.has_shift()) return;
  if (univariate.has_rational_quadratic_spline()) return FillSpline(*univariate.mutable_rational_quadratic_spline());
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

void FillPermutation(Permutation& permutation) {
  if (permutation.columns().empty() && permutation.kind() == Permutation::KIND_UNSPECIFIED) {
    permutation.set_kind(Permutation::REVERSE);
  }
}

void FillLayer(Layer& layer) {
  if (layer.has_elementwise()) {
    FillUnivariate(*layer.mutable_elementwise()->mutable_univariate());
    // Unset means parameters that do not depend on the context.
    if (layer.elementwise().has_conditioner()) FillConditioner(*layer.mutable_elementwise()->mutable_conditioner());
  }
  if (layer.has_coupling()) FillCoupling(*layer.mutable_coupling());
  if (layer.has_autoregressive()) FillAutoregressive(*layer.mutable_autoregressive());
  if (layer.has_permutation()) FillPermutation(*layer.mutable_permutation());
  if (layer.has_bijection()) FillBijection(*layer.mutable_bijection());
}

}  // namespace

FlowSpec WithDefaults(FlowSpec spec) {
  if (!spec.base().has_diagonal_normal()) spec.mutable_base()->mutable_standard_normal();
  for (Layer& layer : *spec.mutable_layers()) FillLayer(layer);
  return spec;
}

}  // namespace densityd::flow
