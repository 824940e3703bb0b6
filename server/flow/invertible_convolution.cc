#include "server/flow/invertible_convolution.h"

namespace densityd::flow {

InvertibleConvolution::InvertibleConvolution(const density::v1::InvertibleConvolution& spec, const RowShape& shape)
    : pixels_(shape.pixels()) {
  const Columns order =
      spec.has_permutation() ? PermutationColumns(spec.permutation(), shape.channels) : AllColumns(shape.channels);
  order_ = RegisterConstant(torch::tensor(order, torch::kInt64));
  inverse_order_ = RegisterConstant(torch::tensor(InversePermutation(order), torch::kInt64));
  factors_.identity = RegisterConstant(torch::eye(shape.channels, torch::kFloat64));
  factors_.lu = register_parameter("lu", LuFactors::Identity(shape.channels));
}

Tensor InvertibleConvolution::Channels(const Tensor& rows) const {
  return rows.reshape({rows.size(0), order_.size(0), pixels_}).transpose(0, 1).flatten(1);
}

Tensor InvertibleConvolution::Rows(const Tensor& channels) const {
  return channels.reshape({order_.size(0), -1, pixels_}).transpose(0, 1).flatten(1);
}

Mapped InvertibleConvolution::Forward(const Tensor& z, const Tensor& /*context*/) {
  const Tensor lux = Channels(z).index_select(0, inverse_order_);
  const Tensor ux = torch::linalg_solve_triangular(factors_.Lower(), lux, /*upper=*/false, /*left=*/true,
                                                   /*unitriangular=*/true);
  const Tensor x = torch::linalg_solve_triangular(factors_.Upper(), ux, /*upper=*/true, /*left=*/true,
                                                  /*unitriangular=*/false);
  return {Rows(x), -(factors_.LogAbsDet() * pixels_).expand({z.size(0)})};
}

Mapped InvertibleConvolution::Inverse(const Tensor& x, const Tensor& /*context*/) {
  const Tensor matrix = torch::matmul(factors_.Lower(), factors_.Upper()).index_select(0, order_);
  return {Rows(torch::matmul(matrix, Channels(x))), (factors_.LogAbsDet() * pixels_).expand({x.size(0)})};
}

}  // namespace densityd::flow
