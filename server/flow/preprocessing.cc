#include "server/flow/preprocessing.h"

#include <vector>

#include "server/flow/columns.h"
#include "server/flow/elementary.h"

namespace densityd::flow {
namespace {

template <typename Numbers>
Tensor ToTensor(const Numbers& numbers) {
  return torch::tensor(std::vector<double>(numbers.begin(), numbers.end()), torch::kFloat64);
}

MappedColumns MapForward(const density::v1::Bijection& spec, const Tensor& z) {
  switch (spec.kind()) {
    case density::v1::Bijection::EXP:
      return ExpMap(z);
    case density::v1::Bijection::LOG:
      return LogMap(z);
    case density::v1::Bijection::SIGMOID:
      return SigmoidMap(z, spec.alpha());
    case density::v1::Bijection::LOGIT:
      return LogitMap(z, spec.alpha());
    case density::v1::Bijection::SOFTPLUS:
      return SoftplusMap(z);
    case density::v1::Bijection::TANH:
      return TanhMap(z);
    case density::v1::Bijection::LEAKY_RELU_BIJECTION:
      return LeakyReluMap(z, spec.slope());
    default:
      return AffineMap(z, spec.scale(), spec.shift());
  }
}

MappedColumns MapInverse(const density::v1::Bijection& spec, const Tensor& x) {
  switch (spec.kind()) {
    case density::v1::Bijection::EXP:
      return LogMap(x);
    case density::v1::Bijection::LOG:
      return ExpMap(x);
    case density::v1::Bijection::SIGMOID:
      return LogitMap(x, spec.alpha());
    case density::v1::Bijection::LOGIT:
      return SigmoidMap(x, spec.alpha());
    case density::v1::Bijection::SOFTPLUS:
      return InverseSoftplusMap(x);
    case density::v1::Bijection::TANH:
      return AtanhMap(x);
    case density::v1::Bijection::LEAKY_RELU_BIJECTION:
      return LeakyReluMap(x, 1 / spec.slope());
    default:
      return AffineMap(x - spec.shift(), 1 / spec.scale(), 0);
  }
}

}  // namespace

Standardize::Standardize(const density::v1::Standardize& spec)
    : mean_(RegisterExactConstant(ToTensor(spec.mean()))), scale_(RegisterExactConstant(ToTensor(spec.scale()))) {
  log_abs_det_ = RegisterConstant(-scale_.log().sum());
}

Mapped Standardize::Forward(const Tensor& z, const Tensor& /*context*/) {
  const Tensor x = z.to(torch::kFloat64) * scale_ + mean_;
  return {x.to(log_abs_det_.scalar_type()), (-log_abs_det_).expand({z.size(0)})};
}

Mapped Standardize::Inverse(const Tensor& x, const Tensor& /*context*/) {
  const Tensor z = (x.to(torch::kFloat64) - mean_) / scale_;
  return {z.to(log_abs_det_.scalar_type()), log_abs_det_.expand({x.size(0)})};
}

MappedColumns Standardize::InverseByColumn(const MappedColumns& x, const Tensor& context) {
  const Tensor log_slope = (-scale_.log()).to(log_abs_det_.scalar_type());
  return {Inverse(x.value, context).value, x.log_slope + log_slope};
}

Bijection::Bijection(const density::v1::Bijection& spec, int64_t features)
    : spec_(spec), columns_(RegisterConstant(torch::tensor(BijectionColumns(spec, features), torch::kInt64))) {}

Mapped Bijection::Forward(const Tensor& z, const Tensor& /*context*/) {
  const MappedColumns mapped = MapForward(spec_, z.index_select(1, columns_));
  return {z.index_copy(1, columns_, mapped.value), mapped.log_slope.sum(1)};
}

Mapped Bijection::Inverse(const Tensor& x, const Tensor& /*context*/) {
  const MappedColumns mapped = MapInverse(spec_, x.index_select(1, columns_));
  return {x.index_copy(1, columns_, mapped.value), mapped.log_slope.sum(1)};
}

MappedColumns Bijection::InverseByColumn(const MappedColumns& x, const Tensor& /*context*/) {
  const MappedColumns mapped = MapInverse(spec_, x.value.index_select(1, columns_));
  return {x.value.index_copy(1, columns_, mapped.value), x.log_slope.index_add(1, columns_, mapped.log_slope)};
}

}  // namespace densityd::flow
