#include "server/flow/rotations.h"

namespace densityd::flow {

Tensor Reflect(const Tensor& vectors, Tensor matrix) {
  for (const Tensor& vector : vectors.unbind(0)) {
    const Tensor square = vector.dot(vector).clamp_min(1e-30);
    matrix = matrix - torch::outer(vector, 2 / square * torch::mv(matrix.t(), vector));
  }
  return matrix;
}

Mapped Rotation::Forward(const Tensor& z, const Tensor& /*context*/) {
  return {torch::matmul(z, Matrix()), torch::zeros({z.size(0)}, z.options())};
}

Mapped Rotation::Inverse(const Tensor& x, const Tensor& /*context*/) {
  return {torch::matmul(x, Matrix().t()), torch::zeros({x.size(0)}, x.options())};
}

Householder::Householder(const density::v1::Householder& spec, int64_t features, Initializer& initializer) {
  const Tensor halves = initializer.Uniform({spec.reflections() / 2, features}, 1);
  vectors_ = register_parameter("vectors", halves.repeat_interleave(2, 0));
  identity_ = RegisterConstant(torch::eye(features, torch::kFloat64));
}

Tensor Householder::Matrix() const { return Reflect(vectors_, identity_); }

Orthogonal::Orthogonal(const density::v1::Orthogonal& spec, int64_t features)
    : cayley_(spec.map() == density::v1::Orthogonal::CAYLEY) {
  const Tensor indices = torch::tril_indices(features, features, -1, torch::kInt64);
  rows_ = RegisterConstant(indices.select(0, 0).clone());
  columns_ = RegisterConstant(indices.select(0, 1).clone());
  identity_ = RegisterConstant(torch::eye(features, torch::kFloat64));
  skew_ = register_parameter("skew", torch::zeros({indices.size(1)}, torch::kFloat64));
}

Tensor Orthogonal::Matrix() const {
  const Tensor lower = torch::zeros_like(identity_).index_put({rows_, columns_}, skew_);
  const Tensor skew = lower - lower.t();
  if (!cayley_) return torch::linalg_matrix_exp(skew);
  return torch::linalg_solve(identity_ - skew / 2, identity_ + skew / 2);
}

}  // namespace densityd::flow
