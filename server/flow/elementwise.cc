#include "server/flow/elementwise.h"

#include "server/flow/spec.h"

namespace densityd::flow {

Elementwise::Elementwise(const density::v1::Elementwise& spec, int64_t features, int64_t context_features,
                         Initializer& initializer)
    : features_(features),
      parameters_(UnivariateParameters(spec.univariate())),
      univariate_(MakeUnivariate(spec.univariate(), AllColumns(features))) {
  if (context_features > 0 && spec.has_conditioner()) {
    conditioner_ = register_module(
        "conditioner", MakeConditioner(spec.conditioner(), 0, context_features, features * parameters_, initializer));
  } else {
    theta_ = register_parameter("theta", torch::zeros({features, parameters_}, torch::kFloat64));
  }
}

Tensor Elementwise::Theta(const Tensor& rows, const Tensor& context) {
  if (!conditioner_) return theta_.unsqueeze(0).expand({rows.size(0), features_, parameters_});
  return conditioner_->Compute(Tensor(), context).view({-1, features_, parameters_});
}

Mapped Elementwise::Forward(const Tensor& z, const Tensor& context) {
  return Summed(univariate_->Forward(z, Theta(z, context)));
}

Mapped Elementwise::Inverse(const Tensor& x, const Tensor& context) {
  return Summed(univariate_->Inverse(x, Theta(x, context)));
}

MappedColumns Elementwise::InverseByColumn(const MappedColumns& x, const Tensor& context) {
  return After(x, univariate_->Inverse(x.value, Theta(x.value, context)));
}

}  // namespace densityd::flow
