#include "server/flow/layer_check.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/flow/columns.h"
#include "server/flow/field_check.h"
#include "server/flow/image_check.h"
#include "server/flow/preprocessing_check.h"
#include "server/flow/univariate_check.h"

namespace densityd::flow {
namespace {

using density::v1::Activation;
using density::v1::Activation_IsValid;
using density::v1::Autoregressive;
using density::v1::Bijection;
using density::v1::Conditioner;
using density::v1::Continuous;
using density::v1::Coupling;
using density::v1::Elementwise;
using density::v1::Householder;
using density::v1::InvertibleConvolution;
using density::v1::Layer;
using density::v1::Mask;
using density::v1::Mlp;
using density::v1::Orthogonal;
using density::v1::Permutation;
using density::v1::Residual;
using density::v1::ResidualMlp;
using density::v1::Split;
using density::v1::Standardize;
using density::v1::Sylvester;

constexpr uint32_t kMaxReflections = 1024;
constexpr int64_t kMaxSylvesterUnits = 256;
constexpr double kMaxCoefficient = 0.99;
constexpr uint32_t kMaxExactFeatures = 64;
constexpr uint32_t kMaxSeriesTerms = 200;
constexpr uint32_t kMaxProbes = 256;
constexpr double kMinTolerance = 1e-12;
constexpr double kMaxTolerance = 0.01;
constexpr double kMaxOdeTolerance = 0.1;
constexpr uint32_t kMaxOdeSteps = 1'000'000;
constexpr uint32_t kMaxTimeFrequencies = 64;

absl::Status CheckWidth(uint32_t width, const std::string& field) {
  if (width >= 1 && width <= kMaxHiddenUnits) return absl::OkStatus();
  return InvalidArgument(field, absl::StrCat("is ", width, "; a layer has 1 … ", kMaxHiddenUnits, " units"));
}

absl::Status CheckMlp(const Mlp& mlp, const std::string& field) {
  if (mlp.hidden_size() > kMaxHiddenLayers) {
    return InvalidArgument(field + ".hidden",
                           absl::StrCat("has ", mlp.hidden_size(), " layers; the limit is ", kMaxHiddenLayers));
  }
  for (int i = 0; i < mlp.hidden_size(); ++i) {
    if (auto status = CheckWidth(mlp.hidden(i), absl::StrCat(field, ".hidden[", i, "]")); !status.ok()) return status;
  }
  if (!Activation_IsValid(mlp.activation())) return UnknownEnum(field + ".activation", mlp.activation());
  return absl::OkStatus();
}

absl::Status CheckResidualMlp(const ResidualMlp& residual, const std::string& field) {
  if (residual.hidden() != 0) {
    if (auto status = CheckWidth(residual.hidden(), field + ".hidden"); !status.ok()) return status;
  }
  if (residual.blocks() > kMaxResidualBlocks) {
    return InvalidArgument(field + ".blocks",
                           absl::StrCat("is ", residual.blocks(), "; the limit is ", kMaxResidualBlocks));
  }
  if (!Activation_IsValid(residual.activation())) return UnknownEnum(field + ".activation", residual.activation());
  if (!(residual.dropout() >= 0 && residual.dropout() < 1)) {
    return InvalidArgument(field + ".dropout", absl::StrCat("is ", residual.dropout(), "; it must be within [0, 1)"));
  }
  return absl::OkStatus();
}

// Of a coupling or a split, which may see an image.
absl::Status CheckImageConditioner(const Conditioner& conditioner, const RowShape& shape, const std::string& field) {
  if (!conditioner.has_conv_resnet()) return CheckConditioner(conditioner, field);
  return CheckConvResNet(conditioner.conv_resnet(), shape, field + ".conv_resnet");
}

absl::Status CheckElementwise(const Elementwise& layer, int64_t features, const std::string& field) {
  if (auto status = CheckUnivariate(layer.univariate(), features, field + ".univariate"); !status.ok()) return status;
  return CheckConditioner(layer.conditioner(), field + ".conditioner");
}

absl::Status CheckCoupling(const Coupling& layer, const RowShape& shape, const std::string& field) {
  if (auto status = CheckMask(layer.mask(), shape, field + ".mask"); !status.ok()) return status;
  const std::string passed = field + ".passed_univariate";
  if (auto status = CheckUnivariate(layer.passed_univariate(), shape.columns, passed); !status.ok()) return status;
  if (auto status = CheckUnivariate(layer.univariate(), shape.columns, field + ".univariate"); !status.ok()) {
    return status;
  }
  if (layer.conditioner().has_conv_resnet() && !layer.univariate().rational_quadratic_spline().circular().empty()) {
    return InvalidArgument(field + ".conditioner.conv_resnet",
                           "sees numbers, not the sines and cosines of univariate.rational_quadratic_spline.circular");
  }
  return CheckImageConditioner(layer.conditioner(), shape, field + ".conditioner");
}

absl::Status CheckSplit(const Split& layer, const RowShape& shape, const std::string& field) {
  if (auto status = CheckSplittable(shape, field); !status.ok()) return status;
  return CheckImageConditioner(layer.conditioner(), shape, field + ".conditioner");
}

absl::Status CheckPermutationLayer(const Permutation& layer, int64_t count, const std::string& field) {
  if (!Permutation::Kind_IsValid(layer.kind())) return UnknownEnum(field + ".kind", layer.kind());
  return CheckPermutation(layer.columns(), count, field + ".columns");
}

absl::Status CheckInvertibleConvolution(const InvertibleConvolution& layer, const RowShape& shape,
                                        const std::string& field) {
  if (auto status = CheckIsImage(shape, field); !status.ok()) return status;
  return CheckPermutationLayer(layer.permutation(), shape.channels, field + ".permutation");
}

absl::Status CheckActNorm(const density::v1::ActNorm& layer, const RowShape& shape, const std::string& field) {
  return layer.per_channel() ? CheckIsImage(shape, field + ".per_channel") : absl::OkStatus();
}

absl::Status CheckAutoregressive(const Autoregressive& layer, int64_t features, const std::string& field) {
  if (auto status = CheckUnivariate(layer.univariate(), features, field + ".univariate"); !status.ok()) return status;
  if (auto status = CheckConditioner(layer.conditioner(), field + ".conditioner"); !status.ok()) return status;
  if (!Autoregressive::ParallelDirection_IsValid(layer.parallel())) {
    return UnknownEnum(field + ".parallel", layer.parallel());
  }
  if (!Autoregressive::Order_IsValid(layer.order())) return UnknownEnum(field + ".order", layer.order());
  return CheckPermutation(layer.columns(), features, field + ".columns");
}

// Refuses an option that the kind does not use, and one that is out of range.
absl::Status CheckOption(bool set, bool used, bool in_range, const std::string& field, const char* rule) {
  if (set && !used) return InvalidArgument(field, absl::StrCat("does not apply to this kind; it ", rule));
  if (set && !in_range) return InvalidArgument(field, absl::StrCat("is out of range; it ", rule));
  return absl::OkStatus();
}

absl::Status CheckBijection(const Bijection& layer, int64_t features, const std::string& field) {
  const auto kind = layer.kind();
  if (kind == Bijection::BIJECTION_UNSPECIFIED) return InvalidArgument(field + ".kind", "is not set");
  if (!Bijection::Kind_IsValid(kind)) return UnknownEnum(field + ".kind", kind);
  const bool affine = kind == Bijection::AFFINE;
  const bool alpha = kind == Bijection::SIGMOID || kind == Bijection::LOGIT;
  const absl::Status checks[] = {
      CheckColumns(layer.columns(), features, field + ".columns"),
      CheckOption(layer.has_scale(), affine, std::isfinite(layer.scale()) && layer.scale() != 0, field + ".scale",
                  "is the factor of AFFINE: finite and not 0"),
      CheckOption(layer.shift() != 0, affine, std::isfinite(layer.shift()), field + ".shift",
                  "is the offset of AFFINE: finite"),
      CheckOption(layer.has_slope(), kind == Bijection::LEAKY_RELU_BIJECTION,
                  std::isfinite(layer.slope()) && layer.slope() > 0, field + ".slope",
                  "is the slope of LEAKY_RELU_BIJECTION: finite and > 0"),
      CheckOption(layer.alpha() != 0, alpha, layer.alpha() >= 0 && layer.alpha() < 0.5, field + ".alpha",
                  "is the margin of SIGMOID and LOGIT: within [0, 0.5)"),
  };
  for (const absl::Status& status : checks) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckRotates(int64_t features, const std::string& field) {
  if (features >= 2) return absl::OkStatus();
  return InvalidArgument(field, "rotates columns, so there must be at least 2 features; there is 1");
}

absl::Status CheckHouseholder(const Householder& layer, int64_t features, const std::string& field) {
  if (auto status = CheckRotates(features, field); !status.ok()) return status;
  if (layer.reflections() % 2 == 0 && layer.reflections() <= kMaxReflections) return absl::OkStatus();
  return InvalidArgument(field + ".reflections", absl::StrCat("is ", layer.reflections(),
                                                              "; it must be even and within 2 … ", kMaxReflections));
}

absl::Status CheckOrthogonal(const Orthogonal& layer, int64_t features, const std::string& field) {
  if (auto status = CheckRotates(features, field); !status.ok()) return status;
  return Orthogonal::Map_IsValid(layer.map()) ? absl::OkStatus() : UnknownEnum(field + ".map", layer.map());
}

absl::Status CheckParallel(Autoregressive::ParallelDirection parallel, const std::string& field) {
  return Autoregressive::ParallelDirection_IsValid(parallel) ? absl::OkStatus() : UnknownEnum(field, parallel);
}

// A planar or radial layer.
template <typename Bend>
absl::Status CheckBend(const Bend& layer, const std::string& field) {
  if (auto status = CheckParallel(layer.parallel(), field + ".parallel"); !status.ok()) return status;
  return CheckConditioner(layer.conditioner(), field + ".conditioner");
}

absl::Status CheckSylvester(const Sylvester& layer, int64_t features, const std::string& field) {
  if (auto status = CheckParallel(layer.parallel(), field + ".parallel"); !status.ok()) return status;
  return CheckCount(layer.hidden(), 1, std::min(features, kMaxSylvesterUnits), field + ".hidden");
}

// A layer whose traces are exact up to some number of columns.
template <typename Traced>
absl::Status CheckExactFeatures(const Traced& layer, const std::string& field) {
  if (layer.exact_trace_features() <= kMaxExactFeatures) return absl::OkStatus();
  return InvalidArgument(field + ".exact_trace_features",
                         absl::StrCat("is ", layer.exact_trace_features(), "; the limit is ", kMaxExactFeatures));
}

// 0, which means its default, or within [kMinTolerance, max].
absl::Status CheckTolerance(double tolerance, double max, const std::string& field) {
  if (tolerance == 0 || (tolerance >= kMinTolerance && tolerance <= max)) return absl::OkStatus();
  return InvalidArgument(field, absl::StrCat("is ", tolerance, "; it must be within [", kMinTolerance, ", ", max, "]"));
}

absl::Status CheckResidualFlow(const Residual& layer, const std::string& field) {
  if (auto status = CheckMlp(layer.network(), field + ".network"); !status.ok()) return status;
  if (!(layer.coefficient() >= 0 && layer.coefficient() <= kMaxCoefficient)) {
    return InvalidArgument(field + ".coefficient",
                           absl::StrCat("is ", layer.coefficient(), "; it must be within (0, ", kMaxCoefficient, "]"));
  }
  if (auto status = CheckExactFeatures(layer, field); !status.ok()) return status;
  if (auto status = CheckCount(layer.series_terms(), 1, kMaxSeriesTerms, field + ".series_terms"); !status.ok()) {
    return status;
  }
  if (auto status = CheckCount(layer.probes(), 1, kMaxProbes, field + ".probes"); !status.ok()) return status;
  return CheckTolerance(layer.tolerance(), kMaxTolerance, field + ".tolerance");
}

bool IsSmooth(Activation activation) {
  return activation != density::v1::RELU && activation != density::v1::LEAKY_RELU;
}

// A weight in a training's loss.
absl::Status CheckWeight(double weight, bool matching, const std::string& field) {
  if (!(weight >= 0 && std::isfinite(weight))) {
    return InvalidArgument(field, absl::StrCat("is ", weight, "; it must be finite and at least 0"));
  }
  if (weight == 0 || !matching) return absl::OkStatus();
  return InvalidArgument(field, "is set, but FLOW_MATCHING follows no path that it could regularise");
}

absl::Status CheckContinuous(const Continuous& layer, const std::string& field) {
  const bool matching = layer.objective() == Continuous::FLOW_MATCHING;
  if (!Continuous::Objective_IsValid(layer.objective())) return UnknownEnum(field + ".objective", layer.objective());
  const absl::Status checks[] = {
      CheckMlp(layer.network(), field + ".network"),
      CheckTolerance(layer.atol(), kMaxOdeTolerance, field + ".atol"),
      CheckTolerance(layer.rtol(), kMaxOdeTolerance, field + ".rtol"),
      CheckCount(layer.max_steps(), 1, kMaxOdeSteps, field + ".max_steps"),
      CheckExactFeatures(layer, field),
      CheckCount(layer.probes(), 1, kMaxProbes, field + ".probes"),
      CheckWeight(layer.kinetic_regularization(), matching, field + ".kinetic_regularization"),
      CheckWeight(layer.jacobian_regularization(), matching, field + ".jacobian_regularization"),
      CheckCount(layer.time_frequencies(), 1, kMaxTimeFrequencies, field + ".time_frequencies"),
  };
  for (const absl::Status& status : checks) {
    if (!status.ok()) return status;
  }
  if (IsSmooth(layer.network().activation())) return absl::OkStatus();
  return InvalidArgument(field + ".network.activation",
                         absl::StrCat("is ", density::v1::Activation_Name(layer.network().activation()),
                                      "; a velocity must be smooth: take TANH, GELU, SILU or ELU"));
}

}  // namespace

absl::Status CheckStandardize(const Standardize& standardize, int64_t columns, const std::string& field) {
  if (auto status = CheckColumns(standardize.unchanged(), columns, field + ".unchanged"); !status.ok()) return status;
  for (const auto& [name, values] : {std::pair{".mean", &standardize.mean()}, {".scale", &standardize.scale()}}) {
    if (!values->empty() && values->size() != columns) {
      return InvalidArgument(field + name,
                             absl::StrCat("has ", values->size(), " numbers; there are ", columns, " columns"));
    }
    for (int i = 0; i < values->size(); ++i) {
      const double value = values->Get(i);
      if (!std::isfinite(value) || (values == &standardize.scale() && value <= 0)) {
        return InvalidArgument(absl::StrCat(field, name, "[", i, "]"),
                               absl::StrCat("is ", value, "; a mean must be finite, a scale finite and > 0"));
      }
    }
  }
  for (int i = 0; i < standardize.unchanged_size(); ++i) {
    const auto column = static_cast<int>(standardize.unchanged(i));
    const double mean = standardize.mean().empty() ? 0 : standardize.mean(column);
    const double scale = standardize.scale().empty() ? 1 : standardize.scale(column);
    if (mean == 0 && scale == 1) continue;
    return InvalidArgument(absl::StrCat(field, ".unchanged[", i, "]"),
                           absl::StrCat("column ", column, " has mean ", mean, " and scale ", scale,
                                        "; a column that is left as it is has mean 0 and scale 1"));
  }
  return absl::OkStatus();
}

absl::Status CheckConditioner(const Conditioner& conditioner, const std::string& field) {
  if (conditioner.has_conv_resnet()) {
    return InvalidArgument(field + ".conv_resnet", "is for couplings and splits of images");
  }
  if (conditioner.has_residual_mlp()) return CheckResidualMlp(conditioner.residual_mlp(), field + ".residual_mlp");
  return CheckMlp(conditioner.mlp(), field + ".mlp");
}

absl::Status CheckLayer(const Layer& layer, const RowShape& shape, const std::string& field) {
  const int64_t features = shape.columns;
  switch (layer.kind_case()) {
    case Layer::kStandardize:
      return CheckStandardize(layer.standardize(), features, field + ".standardize");
    case Layer::kElementwise:
      return CheckElementwise(layer.elementwise(), features, field + ".elementwise");
    case Layer::kCoupling:
      return CheckCoupling(layer.coupling(), shape, field + ".coupling");
    case Layer::kAutoregressive:
      return CheckAutoregressive(layer.autoregressive(), features, field + ".autoregressive");
    case Layer::kPermutation:
      return CheckPermutationLayer(layer.permutation(), features, field + ".permutation");
    case Layer::kBijection:
      return CheckBijection(layer.bijection(), features, field + ".bijection");
    case Layer::kHouseholder:
      return CheckHouseholder(layer.householder(), features, field + ".householder");
    case Layer::kOrthogonal:
      return CheckOrthogonal(layer.orthogonal(), features, field + ".orthogonal");
    case Layer::kPlanar:
      return CheckBend(layer.planar(), field + ".planar");
    case Layer::kRadial:
      return CheckBend(layer.radial(), field + ".radial");
    case Layer::kSylvester:
      return CheckSylvester(layer.sylvester(), features, field + ".sylvester");
    case Layer::kResidual:
      return CheckResidualFlow(layer.residual(), field + ".residual");
    case Layer::kContinuous:
      return CheckContinuous(layer.continuous(), field + ".continuous");
    case Layer::kPreprocessing:
      return CheckPreprocessing(layer.preprocessing(), features, ColumnRole::kFeatures, field + ".preprocessing");
    case Layer::kSqueeze:
      return CheckSqueeze(shape, field + ".squeeze");
    case Layer::kSplit:
      return CheckSplit(layer.split(), shape, field + ".split");
    case Layer::kInvertibleConvolution:
      return CheckInvertibleConvolution(layer.invertible_convolution(), shape, field + ".invertible_convolution");
    case Layer::kActnorm:
      return CheckActNorm(layer.actnorm(), shape, field + ".actnorm");
    case Layer::kLuLinear:
    case Layer::kFullAffine:
      return absl::OkStatus();
    default:
      break;
  }
  return InvalidArgument(field,
                         "has no kind; set one of standardize, elementwise, coupling, autoregressive, permutation, "
                         "lu_linear, actnorm, bijection, full_affine, householder, orthogonal, planar, radial, "
                         "sylvester, residual, continuous, squeeze, split, invertible_convolution, preprocessing");
}

}  // namespace densityd::flow
