#include "server/flow/univariate_check.h"

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/flow/field_check.h"

namespace densityd::flow {
namespace {

using density::v1::Affine;
using density::v1::MixtureCdf;
using density::v1::RationalQuadraticSpline;

constexpr double kMaxLogScale = 16;
constexpr double kMaxScale = 1e3;
constexpr double kMinSlope = 1e-6;
constexpr uint32_t kMaxMixtureLayers = 4;
constexpr double kMaxMixtureLogScale = 6.9;

// The first error.
template <size_t kCount>
absl::Status First(const absl::Status (&checks)[kCount]) {
  for (const absl::Status& status : checks) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// A number that was set: refused where the chosen function has no use for it, and where it is out of range.
absl::Status CheckOption(bool set, bool used, bool in_range, double value, const std::string& field,
                         const std::string& users, const std::string& range) {
  if (set && !used) return InvalidArgument(field, absl::StrCat("is set, but belongs to ", users));
  if (set && !in_range) return InvalidArgument(field, absl::StrCat("is ", value, "; it must be within ", range));
  return absl::OkStatus();
}

absl::Status CheckAffine(const Affine& affine, const std::string& field) {
  const auto function = affine.scale_function();
  if (!Affine::ScaleFunction_IsValid(function)) return UnknownEnum(field + ".scale_function", function);
  if (!Affine::Direction_IsValid(affine.direction())) return UnknownEnum(field + ".direction", affine.direction());
  const bool sigmoid = function == Affine::SIGMOID;
  const bool from_minimum = sigmoid || function == Affine::SOFTPLUS;
  const double c = affine.max_log_scale();
  const double least = affine.min_scale();
  const double most = affine.max_scale();
  return First({
      CheckOption(c != 0, !from_minimum && function != Affine::EXP, c > 0 && c <= kMaxLogScale, c,
                  field + ".max_log_scale", "TANH and SOFT_CLIP", absl::StrCat("(0, ", kMaxLogScale, "]")),
      CheckOption(affine.has_min_scale(), from_minimum, least >= 0 && least < 1, least, field + ".min_scale",
                  "SOFTPLUS and SIGMOID", "[0, 1)"),
      CheckOption(affine.has_max_scale(), sigmoid, most > 1 && most <= kMaxScale, most, field + ".max_scale", "SIGMOID",
                  absl::StrCat("(1, ", kMaxScale, "]")),
  });
}

absl::Status CheckSpline(const RationalQuadraticSpline& spline, int64_t features, const std::string& field) {
  if (auto status = CheckColumns(spline.circular(), features, field + ".circular"); !status.ok()) return status;
  const auto parameterization = spline.parameterization();
  if (!RationalQuadraticSpline::Parameterization_IsValid(parameterization)) {
    return UnknownEnum(field + ".parameterization", parameterization);
  }
  if (!RationalQuadraticSpline::Circle_IsValid(spline.circle())) {
    return UnknownEnum(field + ".circle", spline.circle());
  }
  if (spline.circle() != RationalQuadraticSpline::CIRCLE_UNSPECIFIED && spline.circular().empty()) {
    return InvalidArgument(field + ".circle", "is set, but no column is `circular`");
  }
  const uint32_t bins = spline.bins();
  if (bins != 0 && (bins < kMinSplineBins || bins > kMaxSplineBins)) {
    return InvalidArgument(field + ".bins",
                           absl::StrCat("is ", bins, "; it must be ", kMinSplineBins, " … ", kMaxSplineBins));
  }
  const double bound = spline.bound();
  const bool softplus = parameterization != RationalQuadraticSpline::SOFT_CLIP;
  const double largest = 1.0 / (bins == 0 ? 8 : bins);
  const std::string share = absl::StrCat("[0, ", largest, "), below 1 / bins");
  const auto is_share = [largest](double value) { return value >= 0 && value < largest; };
  const double slope = spline.min_slope();
  return First({
      CheckOption(bound != 0, true, bound >= kMinSplineBound && bound <= kMaxSplineBound, bound, field + ".bound", "",
                  absl::StrCat("[", kMinSplineBound, ", ", kMaxSplineBound, "]")),
      CheckOption(spline.has_min_width(), softplus, is_share(spline.min_width()), spline.min_width(),
                  field + ".min_width", "SOFTPLUS", share),
      CheckOption(spline.has_min_height(), softplus, is_share(spline.min_height()), spline.min_height(),
                  field + ".min_height", "SOFTPLUS", share),
      CheckOption(spline.has_min_slope(), true, slope >= kMinSlope && slope < 1, slope, field + ".min_slope", "",
                  absl::StrCat("[", kMinSlope, ", 1)")),
  });
}

absl::Status CheckMixtureCdf(const MixtureCdf& mixture, const std::string& field) {
  const double c = mixture.max_log_scale();
  return First({
      CheckCount(mixture.components(), kMinMixtureComponents, kMaxMixtureComponents, field + ".components"),
      MixtureCdf::Family_IsValid(mixture.family()) ? absl::OkStatus()
                                                   : UnknownEnum(field + ".family", mixture.family()),
      CheckCount(mixture.layers(), 1, kMaxMixtureLayers, field + ".layers"),
      CheckOption(c != 0, true, c > 0 && c <= kMaxMixtureLogScale, c, field + ".max_log_scale", "",
                  absl::StrCat("(0, ", kMaxMixtureLogScale, "]")),
  });
}

}  // namespace

absl::Status CheckUnivariate(const density::v1::Univariate& univariate, int64_t features, const std::string& field) {
  if (univariate.has_rational_quadratic_spline()) {
    return CheckSpline(univariate.rational_quadratic_spline(), features, field + ".rational_quadratic_spline");
  }
  if (univariate.has_mixture_cdf()) return CheckMixtureCdf(univariate.mixture_cdf(), field + ".mixture_cdf");
  return CheckAffine(univariate.affine(), field + ".affine");
}

}  // namespace densityd::flow
