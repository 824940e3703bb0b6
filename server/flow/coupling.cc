#include "server/flow/coupling.h"

#include "server/flow/columns.h"
#include "server/flow/convolution.h"
#include "server/flow/spec.h"

namespace densityd::flow {

namespace {

// What univariate maps are made for, with the columns that pass as they are.
std::unique_ptr<Univariate> MakePassedUnivariate(const density::v1::Coupling& spec, const Columns& passed) {
  return spec.has_passed_univariate() ? MakeUnivariate(spec.passed_univariate(), passed) : nullptr;
}

}  // namespace

Coupling::Coupling(const density::v1::Coupling& spec, const RowShape& shape, int64_t context_features,
                   Initializer& initializer)
    : parameters_(UnivariateParameters(spec.univariate())) {
  const Columns transformed = TransformedColumns(spec.mask(), shape);
  const Columns passed = OtherColumns(transformed, shape.columns);
  univariate_ = MakeUnivariate(spec.univariate(), transformed);
  transformed_ = RegisterConstant(torch::tensor(transformed, torch::kInt64));
  passed_ = RegisterConstant(torch::tensor(passed, torch::kInt64));
  passed_univariate_ = MakePassedUnivariate(spec, passed);
  const auto passed_count = static_cast<int64_t>(passed.size());
  if (passed_univariate_) {
    const int64_t passed_parameters = UnivariateParameters(spec.passed_univariate());
    passed_theta_ =
        register_parameter("passed_theta", torch::zeros({passed_count, passed_parameters}, torch::kFloat64));
  }
  inputs_ = register_module("inputs", std::make_shared<NetworkInputs>(spec.univariate(), passed));
  if (spec.conditioner().has_conv_resnet()) {
    const Pixels pixels = {shape, passed, transformed, parameters_};
    conditioner_ = MakeConvConditioner(spec.conditioner().conv_resnet(), pixels, context_features, initializer);
  } else {
    const auto circles = static_cast<int64_t>(AngleColumns(spec.univariate(), passed).size());
    const auto outputs = static_cast<int64_t>(transformed.size()) * parameters_;
    conditioner_ = MakeConditioner(spec.conditioner(), passed_count + circles, context_features, outputs, initializer);
  }
  register_module("conditioner", conditioner_);
}

Tensor Coupling::Theta(const Tensor& rows, const Tensor& context) {
  return conditioner_->Compute(inputs_->Compute(rows), context).view({-1, transformed_.size(0), parameters_});
}

Tensor Coupling::PassedTheta(int64_t rows) const {
  return passed_theta_.unsqueeze(0).expand({rows, passed_theta_.size(0), passed_theta_.size(1)});
}

Mapped Coupling::Forward(const Tensor& z, const Tensor& context) {
  // The network sees the data's columns.
  Mapped x{z, torch::zeros({z.size(0)}, z.options())};
  if (passed_univariate_) {
    const MappedColumns passed = passed_univariate_->Forward(z.index_select(1, passed_), PassedTheta(z.size(0)));
    x = {z.index_copy(1, passed_, passed.value), passed.log_slope.sum(1)};
  }
  const MappedColumns mapped = univariate_->Forward(z.index_select(1, transformed_), Theta(x.value, context));
  return {x.value.index_copy(1, transformed_, mapped.value), x.log_abs_det + mapped.log_slope.sum(1)};
}

Mapped Coupling::Inverse(const Tensor& x, const Tensor& context) {
  const MappedColumns mapped = univariate_->Inverse(x.index_select(1, transformed_), Theta(x, context));
  Mapped z{x.index_copy(1, transformed_, mapped.value), mapped.log_slope.sum(1)};
  if (!passed_univariate_) return z;
  const MappedColumns passed = passed_univariate_->Inverse(x.index_select(1, passed_), PassedTheta(x.size(0)));
  return {z.value.index_copy(1, passed_, passed.value), z.log_abs_det + passed.log_slope.sum(1)};
}

}  // namespace densityd::flow
