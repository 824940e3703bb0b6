#include "server/flow/autoregressive.h"

#include "server/flow/columns.h"
#include "server/flow/spec.h"

namespace densityd::flow {

Autoregressive::Autoregressive(const density::v1::Autoregressive& spec, int64_t features, int64_t context_features,
                               Initializer& initializer)
    : features_(features),
      parameters_(UnivariateParameters(spec.univariate())),
      parallel_density_(spec.parallel() != density::v1::Autoregressive::SAMPLING),
      univariate_(MakeUnivariate(spec.univariate(), AllColumns(features))) {
  const Columns order = AutoregressiveOrder(spec, features);
  order_ = RegisterConstant(torch::tensor(order, torch::kInt64));
  columns_in_order_ = order;
  const Columns columns = AllColumns(features);
  inputs_ = register_module("inputs", std::make_shared<NetworkInputs>(spec.univariate(), columns));
  conditioner_ = register_module(
      "conditioner", MakeMaskedConditioner(spec.conditioner(), order, AngleColumns(spec.univariate(), columns),
                                           context_features, parameters_, initializer));
}

Mapped Autoregressive::Forward(const Tensor& z, const Tensor& context) {
  return Summed(parallel_density_ ? Sequential(z, context, &Univariate::Forward)
                                  : Parallel(z, context, &Univariate::Forward));
}

Mapped Autoregressive::Inverse(const Tensor& x, const Tensor& context) { return Summed(ToBase(x, context)); }

MappedColumns Autoregressive::InverseByColumn(const MappedColumns& x, const Tensor& context) {
  return After(x, ToBase(x.value, context));
}

MappedColumns Autoregressive::ToBase(const Tensor& x, const Tensor& context) {
  return parallel_density_ ? Parallel(x, context, &Univariate::Inverse) : Sequential(x, context, &Univariate::Inverse);
}

MappedColumns Autoregressive::Parallel(const Tensor& from, const Tensor& context, Direction direction) {
  return ((*univariate_).*direction)(from, Theta(from, context));
}

MappedColumns Autoregressive::Sequential(const Tensor& from, const Tensor& context, Direction direction) {
  // Columns that are not known yet stay zero: a large number under a zero weight could still become 0 * inf.
  Tensor known = torch::zeros_like(from);
  Tensor log_slope = torch::zeros_like(from);
  for (int64_t i = 0; i < features_; ++i) {
    const Tensor column = order_.narrow(0, i, 1);
    const Tensor theta = Theta(known, context).index_select(1, column);
    const Univariate& map = univariate_->OfColumn(columns_in_order_[i]);
    const MappedColumns mapped = (map.*direction)(from.index_select(1, column), theta);
    known = known.index_copy(1, column, mapped.value);
    log_slope = log_slope.index_copy(1, column, mapped.log_slope);
  }
  return {known, log_slope};
}

Tensor Autoregressive::Theta(const Tensor& rows, const Tensor& context) {
  return conditioner_->Compute(inputs_->Compute(rows), context).view({-1, features_, parameters_});
}

}  // namespace densityd::flow
