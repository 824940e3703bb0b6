#include "server/flow/coupling.h"

#include "server/flow/columns.h"
#include "server/flow/spec.h"

namespace densityd::flow {

Coupling::Coupling(const density::v1::Coupling& spec, int64_t features, int64_t context_features,
                   Initializer& initializer)
    : parameters_(UnivariateParameters(spec.univariate())), univariate_(MakeUnivariate(spec.univariate())) {
  const Columns transformed = TransformedColumns(spec.mask(), features);
  const Columns passed = OtherColumns(transformed, features);
  transformed_ = RegisterConstant(torch::tensor(transformed, torch::kInt64));
  passed_ = RegisterConstant(torch::tensor(passed, torch::kInt64));
  const auto outputs = static_cast<int64_t>(transformed.size()) * parameters_;
  conditioner_ = register_module(
      "conditioner", MakeConditioner(spec.conditioner(), passed.size(), context_features, outputs, initializer));
}

Tensor Coupling::Theta(const Tensor& rows, const Tensor& context) {
  return conditioner_->Compute(rows.index_select(1, passed_), context).view({-1, transformed_.size(0), parameters_});
}

Mapped Coupling::Replace(const Tensor& rows, const MappedColumns& mapped) const {
  return {rows.index_copy(1, transformed_, mapped.value), mapped.log_slope.sum(1)};
}

Mapped Coupling::Forward(const Tensor& z, const Tensor& context) {
  return Replace(z, univariate_->Forward(z.index_select(1, transformed_), Theta(z, context)));
}

Mapped Coupling::Inverse(const Tensor& x, const Tensor& context) {
  return Replace(x, univariate_->Inverse(x.index_select(1, transformed_), Theta(x, context)));
}

}  // namespace densityd::flow
