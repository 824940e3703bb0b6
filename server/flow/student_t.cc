#include "server/flow/student_t.h"

#include <numbers>

#include "server/flow/elementary.h"

namespace densityd::flow {
namespace {

// Of the degrees of freedom: below 1 not even a mean exists, and training drifts off.
constexpr double kMinDegrees = 1;

}  // namespace

StudentT::StudentT(const density::v1::StudentT& spec, int64_t features) {
  const Tensor raw = torch::full({features}, InverseSoftplus(spec.degrees() - kMinDegrees), torch::kFloat64);
  degrees_ = spec.fixed() ? RegisterConstant(raw) : register_parameter("degrees", raw);
}

Tensor StudentT::Degrees() const { return kMinDegrees + Softplus(degrees_); }

Tensor StudentT::LogProb(const Tensor& z, const Tensor& /*context*/) { return ColumnLogProb(z).sum(1); }

Tensor StudentT::LogProbByColumn(const Tensor& z, const Tensor& /*context*/, const Tensor& /*order*/) {
  return ColumnLogProb(z);
}

Tensor StudentT::ColumnLogProb(const Tensor& z) const {
  // The two log-gammas cancel to a few digits where nu is large: in float64, whatever the flow's type.
  const Tensor exact = Degrees().to(torch::kFloat64);
  const Tensor log_norm =
      torch::lgamma((exact + 1) / 2) - torch::lgamma(exact / 2) - 0.5 * (exact * std::numbers::pi).log();
  const Tensor degrees = exact.to(z.scalar_type());
  return log_norm.to(z.scalar_type()) - (degrees + 1) / 2 * torch::log1p(z.square() / degrees);
}

Tensor StudentT::FromNoise(const Tensor& noise, const Tensor& /*context*/) {
  const auto numbers = noise.chunk(2, 1);
  const Tensor degrees = Degrees();
  // Where both numbers are 0, so is t; the limit of the root's argument is 1.
  const Tensor share = ((numbers[0].square() + numbers[1].square()) / degrees).clamp_min(1e-30);
  return numbers[0] * (torch::expm1(share) / share).sqrt();
}

}  // namespace densityd::flow
