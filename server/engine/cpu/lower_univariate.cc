#include "server/engine/cpu/lower_univariate.h"

#include <cmath>
#include <utility>

#include "server/flow/spec.h"

namespace densityd::engine::cpu {
namespace {

constexpr double kLog2E = 1.442695040888963407359924681002;

SplineForm LowerSpline(const density::v1::RationalQuadraticSpline& spline) {
  SplineForm form;
  form.bound = static_cast<float>(spline.bound());
  form.soft_clip = spline.parameterization() == density::v1::RationalQuadraticSpline::SOFT_CLIP;
  if (form.soft_clip) {
    const double clip = -std::log(spline.min_slope()) * kLog2E;
    form.per_slope_clip = static_cast<float>(1 / clip);
    form.per_size_clip = static_cast<float>(2 / clip);
    form.min_width = form.min_height = form.min_slope = form.slope_offset = 0;
    return form;
  }
  form.min_width = static_cast<float>(2 * spline.bound() * spline.min_width());
  form.min_height = static_cast<float>(2 * spline.bound() * spline.min_height());
  form.min_slope = static_cast<float>(spline.min_slope());
  form.slope_offset = static_cast<float>(std::log(std::expm1(1 - spline.min_slope())));
  return form;
}

void LowerAffine(const density::v1::Affine& affine, UnivariateMap& map) {
  using density::v1::Affine;
  const double smallest = affine.min_scale();
  map.constant = affine.max_log_scale();
  map.affine.is_reciprocal = affine.reciprocal_scale();
  map.affine.smallest = static_cast<float>(smallest);
  map.affine.range = static_cast<float>(affine.max_scale() - smallest);
  map.affine.log_range = static_cast<float>(std::log(affine.max_scale() - smallest));
  // The map is written as z = x g + t: the other way round.
  if (affine.direction() == Affine::INVERSE) std::swap(map.forward, map.inverse);
  switch (affine.scale_function()) {
    case Affine::SOFT_CLIP:
      map.affine.scale = ScaleKind::kSoftClip;
      break;
    case Affine::EXP:
      map.affine.scale = ScaleKind::kExp;
      break;
    case Affine::SOFTPLUS:
      map.affine.scale = ScaleKind::kSoftplus;
      map.affine.offset = static_cast<float>(std::log(std::expm1(1 - smallest)));
      break;
    case Affine::SIGMOID:
      map.affine.scale = ScaleKind::kSigmoid;
      map.affine.offset = static_cast<float>(std::log((1 - smallest) / (affine.max_scale() - 1)));
      break;
    default:
      break;
  }
}

}  // namespace

UnivariateMap LowerUnivariate(const density::v1::Univariate& univariate) {
  UnivariateMap map;
  map.parameters = static_cast<uint32_t>(flow::UnivariateParameters(univariate));
  if (univariate.has_shift()) {
    map.forward = MapKind::kShiftForward;
    map.inverse = MapKind::kShiftInverse;
  } else if (univariate.has_rational_quadratic_spline()) {
    map.forward = MapKind::kSplineForward;
    map.inverse = MapKind::kSplineInverse;
    map.spline = LowerSpline(univariate.rational_quadratic_spline());
  } else {
    LowerAffine(univariate.affine(), map);
  }
  return map;
}

}  // namespace densityd::engine::cpu
