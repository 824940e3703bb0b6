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
      "conditioner", MakeMaskedConditioner(spec.conditioner(), order, CircularColumns(spec.univariate(), columns),
                                           context_features, parameters_, initializer));
}

Mapped Autoregressive::Forward(const Tensor& z, const Tensor& context) {
  return parallel_density_ ? Sequential(z, context, &Univariate::Forward) : Parallel(z, context, &Univariate::Forward);
}

Mapped Autoregressive::Inverse(const Tensor& x, const Tensor& context) {
  return parallel_density_ ? Parallel(x, context, &Univariate::Inverse) : Sequential(x, context, &Univariate::Inverse);
}

Mapped Autoregressive::Parallel(const Tensor& from, const Tensor& context, Direction direction) {
  const MappedColumns mapped = ((*univariate_).*direction)(from, Theta(from, context));
  return {mapped.value, mapped.log_slope.sum(1)};
}

Mapped Autoregressive::Sequential(const Tensor& from, const Tensor& context, Direction direction) {
  // Columns that are not known yet stay zero: a large number under a zero weight could still become 0 * inf.
  Tensor known = torch::zeros_like(from);
  Tensor log_abs_det = torch::zeros({from.size(0)}, from.options());
  for (int64_t i = 0; i < features_; ++i) {
    const Tensor column = order_.narrow(0, i, 1);
    const Tensor theta = Theta(known, context).index_select(1, column);
    const Univariate& map = univariate_->OfColumn(columns_in_order_[i]);
    const MappedColumns mapped = (map.*direction)(from.index_select(1, column), theta);
    known = known.index_copy(1, column, mapped.value);
    log_abs_det = log_abs_det + mapped.log_slope.squeeze(1);
  }
  return {known, log_abs_det};
}

Tensor Autoregressive::Theta(const Tensor& rows, const Tensor& context) {
  return conditioner_->Compute(inputs_->Compute(rows), context).view({-1, features_, parameters_});
}

}  // namespace densityd::flow
