#include "server/flow/sylvester.h"

#include <cmath>
#include <vector>

#include "server/flow/elementary.h"
#include "server/flow/linear_transforms.h"
#include "server/flow/monotone_solve.h"
#include "server/flow/rotations.h"

namespace densityd::flow {

// Q (D, M), R1 and R2 (M, M), and the diagonal of R1 R2, which is above -0.999.
struct Sylvester::Numbers {
  Tensor q;
  Tensor r1;
  Tensor r2;
  Tensor contraction;
};

Sylvester::Sylvester(const density::v1::Sylvester& spec, int64_t features, Initializer& initializer)
    : Bend(spec.parallel()), hidden_(spec.hidden()) {
  vectors_ = register_parameter("vectors", initializer.Uniform({hidden_, features}, 1));
  const Tensor indices = torch::triu_indices(hidden_, hidden_, 0, torch::kInt64);
  rows_ = RegisterConstant(indices.select(0, 0).clone());
  columns_ = RegisterConstant(indices.select(0, 1).clone());
  diagonal_ = RegisterConstant((rows_ == columns_).nonzero().squeeze(1));
  identity_ = RegisterConstant(torch::eye(features, hidden_, torch::kFloat64));
  const Tensor zeros = torch::zeros({indices.size(1)}, torch::kFloat64);
  r1_ = register_parameter("r1", zeros.clone());
  r2_ = register_parameter("r2", zeros.index_fill(0, diagonal_, InverseSoftplus(1 - kMinDiagonal)));
  bias_ = register_parameter("bias", initializer.Uniform({hidden_}, 1 / std::sqrt(static_cast<double>(features))));
}

Tensor Sylvester::Triangle(const Tensor& entries, const Tensor& diagonal) const {
  const Tensor all = entries.index_copy(0, diagonal_, diagonal);
  return torch::zeros({hidden_, hidden_}, entries.options()).index_put({rows_, columns_}, all);
}

Sylvester::Numbers Sylvester::Compute() const {
  const Tensor diagonal2 = kMinDiagonal + Softplus(r2_.index_select(0, diagonal_));
  const Tensor contraction = AboveMinusOne(r1_.index_select(0, diagonal_));
  return {Reflect(vectors_, identity_), Triangle(r1_, contraction / diagonal2), Triangle(r2_, diagonal2), contraction};
}

Mapped Sylvester::Apply(const Tensor& x, const Tensor& /*context*/) {
  const Numbers numbers = Compute();
  const Tensor hidden = torch::tanh(torch::matmul(torch::matmul(x, numbers.q), numbers.r2.t()) + bias_);
  const Tensor change = torch::matmul(torch::matmul(hidden, numbers.r1.t()), numbers.q.t());
  return {x + change, torch::log1p(numbers.contraction * (1 - hidden.square())).sum(1)};
}

Tensor Sylvester::Solve(const Tensor& y, const Tensor& /*context*/) {
  const Numbers numbers = Compute();
  const Tensor projected = torch::matmul(y, numbers.q);
  // v = Q^T x is the root of v + R1 tanh(R2 v + b) = Q^T y. Both matrices are upper triangular, so the last component
  // stands alone, and each other one follows from those after it.
  std::vector<Tensor> v(hidden_);
  std::vector<Tensor> hidden(hidden_);
  for (int64_t i = hidden_ - 1; i >= 0; --i) {
    Tensor target = projected.select(1, i);
    Tensor offset = bias_[i].expand_as(target);
    for (int64_t j = i + 1; j < hidden_; ++j) {
      target = target - numbers.r1[i][j] * hidden[j];
      offset = offset + numbers.r2[i][j] * v[j];
    }
    const Tensor r1 = numbers.r1[i][i];
    const Tensor r2 = numbers.r2[i][i];
    const Tensor contraction = numbers.contraction[i];
    const auto map = [&](const Tensor& a) -> MappedColumns {
      const Tensor h = torch::tanh(r2 * a + offset);
      return {a + r1 * h, torch::log1p(contraction * (1 - h.square()))};
    };
    const Tensor reach = r1.abs() * (1 + 1e-6) + target.abs() * 1e-6;
    v[i] = SolveMonotone(map, target, target - reach, target + reach);
    hidden[i] = torch::tanh(r2 * v[i] + offset);
  }
  const Tensor change = torch::matmul(torch::matmul(torch::stack(hidden, 1), numbers.r1.t()), numbers.q.t());
  return y - change;
}

}  // namespace densityd::flow
