#include "server/flow/linear_transforms.h"

#include "server/flow/elementary.h"

namespace densityd::flow {
namespace {

Tensor PositiveDiagonal(const Tensor& raw) { return Softplus(raw) + kMinDiagonal; }

// The raw diagonal that PositiveDiagonal makes `positive` from; values at or below the smallest are lifted above it.
Tensor RawDiagonal(const Tensor& positive) {
  const Tensor rest = (positive - kMinDiagonal).clamp_min(kMinDiagonal);
  return rest + torch::log(-torch::expm1(-rest));
}

}  // namespace

Tensor LuFactors::Identity(int64_t n) { return torch::eye(n, torch::kFloat64) * InverseSoftplus(1 - kMinDiagonal); }

Tensor LuFactors::Lower() const { return lu.tril(-1) + identity; }

Tensor LuFactors::Upper() const { return lu.triu(1) + torch::diag(PositiveDiagonal(lu.diagonal())); }

Tensor LuFactors::LogAbsDet() const { return PositiveDiagonal(lu.diagonal()).log().sum(); }

Permutation::Permutation(const Columns& columns) {
  columns_ = RegisterConstant(torch::tensor(columns, torch::kInt64));
  inverse_columns_ = RegisterConstant(torch::tensor(InversePermutation(columns), torch::kInt64));
}

Mapped Permutation::Forward(const Tensor& z, const Tensor& /*context*/) {
  return {z.index_select(1, inverse_columns_), torch::zeros({z.size(0)}, z.options())};
}

Mapped Permutation::Inverse(const Tensor& x, const Tensor& /*context*/) {
  return {x.index_select(1, columns_), torch::zeros({x.size(0)}, x.options())};
}

MappedColumns Permutation::InverseByColumn(const MappedColumns& x, const Tensor& /*context*/) {
  return {x.value.index_select(1, columns_), x.log_slope.index_select(1, columns_)};
}

LuLinear::LuLinear(int64_t features) {
  factors_.identity = RegisterConstant(torch::eye(features, torch::kFloat64));
  factors_.lu = register_parameter("lu", LuFactors::Identity(features));
  bias_ = register_parameter("bias", torch::zeros({features}, torch::kFloat64));
}

Mapped LuLinear::Forward(const Tensor& z, const Tensor& /*context*/) {
  // Rows: z - b = x U^T L^T.
  const Tensor ux = torch::linalg_solve_triangular(factors_.Lower().t(), z - bias_, /*upper=*/true, /*left=*/false,
                                                   /*unitriangular=*/true);
  const Tensor x = torch::linalg_solve_triangular(factors_.Upper().t(), ux, /*upper=*/false, /*left=*/false,
                                                  /*unitriangular=*/false);
  return {x, -factors_.LogAbsDet().expand({z.size(0)})};
}

Mapped LuLinear::Inverse(const Tensor& x, const Tensor& /*context*/) {
  const Tensor z = torch::matmul(torch::matmul(x, factors_.Upper().t()), factors_.Lower().t()) + bias_;
  return {z, factors_.LogAbsDet().expand({x.size(0)})};
}

ActNorm::ActNorm(const density::v1::ActNorm& spec, const RowShape& shape)
    : pixels_(spec.per_channel() ? shape.pixels() : 1) {
  const int64_t numbers = shape.columns / pixels_;
  log_scale_ = register_parameter("log_scale", torch::zeros({numbers}, torch::kFloat64));
  shift_ = register_parameter("shift", torch::zeros({numbers}, torch::kFloat64));
  initialized_ = register_buffer("initialized", torch::zeros({}, torch::kFloat64));
}

Tensor ActNorm::PerColumn(const Tensor& numbers) const {
  return pixels_ == 1 ? numbers : numbers.unsqueeze(1).expand({-1, pixels_}).flatten();
}

Mapped ActNorm::Forward(const Tensor& z, const Tensor& /*context*/) {
  const Tensor log_abs_det = log_scale_.sum() * pixels_;
  return {z * PerColumn(log_scale_.exp()) + PerColumn(shift_), log_abs_det.expand({z.size(0)})};
}

Mapped ActNorm::Inverse(const Tensor& x, const Tensor& /*context*/) {
  const Tensor log_abs_det = -log_scale_.sum() * pixels_;
  return {(x - PerColumn(shift_)) * PerColumn((-log_scale_).exp()), log_abs_det.expand({x.size(0)})};
}

MappedColumns ActNorm::InverseByColumn(const MappedColumns& x, const Tensor& context) {
  return {Inverse(x.value, context).value, x.log_slope - PerColumn(log_scale_)};
}

void ActNorm::InitializeFromData(const Tensor& x, const Tensor& /*context*/) {
  if (x.size(0) < 2 || initialized_.item<double>() != 0) return;
  const torch::NoGradGuard no_grad;
  // (numbers, rows and pixels).
  const Tensor values = x.reshape({x.size(0), log_scale_.size(0), pixels_}).transpose(0, 1).flatten(1);
  const Tensor deviation = values.std(1, /*unbiased=*/false);
  shift_.copy_(values.mean(1));
  log_scale_.copy_(deviation.masked_fill(deviation == 0, 1).log());
  initialized_.fill_(1);
}

FullAffine::FullAffine(int64_t features) : features_(features) {
  const Tensor indices = torch::tril_indices(features, features, 0, torch::kInt64);
  rows_ = RegisterConstant(indices.select(0, 0).clone());
  columns_ = RegisterConstant(indices.select(0, 1).clone());
  diagonal_ = RegisterConstant((rows_ == columns_).nonzero().squeeze(1));
  const Tensor lower = torch::zeros({indices.size(1)}, torch::kFloat64);
  lower_ = register_parameter("lower", lower.index_fill_(0, diagonal_, InverseSoftplus(1 - kMinDiagonal)));
  shift_ = register_parameter("shift", torch::zeros({features}, torch::kFloat64));
}

Tensor FullAffine::Matrix() const {
  const Tensor entries = lower_.index_copy(0, diagonal_, PositiveDiagonal(lower_.index_select(0, diagonal_)));
  return torch::zeros({features_, features_}, lower_.options()).index_put({rows_, columns_}, entries);
}

Mapped FullAffine::Forward(const Tensor& z, const Tensor& /*context*/) {
  const Tensor matrix = Matrix();
  return {torch::matmul(z, matrix.t()) + shift_, matrix.diagonal().log().sum().expand({z.size(0)})};
}

Mapped FullAffine::Inverse(const Tensor& x, const Tensor& /*context*/) {
  const Tensor matrix = Matrix();
  const Tensor z = torch::linalg_solve_triangular(matrix.t(), x - shift_, /*upper=*/true, /*left=*/false,
                                                  /*unitriangular=*/false);
  return {z, (-matrix.diagonal().log().sum()).expand({x.size(0)})};
}

MappedColumns FullAffine::InverseByColumn(const MappedColumns& x, const Tensor& context) {
  return {Inverse(x.value, context).value, x.log_slope - Matrix().diagonal().log()};
}

void FullAffine::InitializeFromData(const Tensor& x, const Tensor& /*context*/) {
  const torch::NoGradGuard no_grad;
  const Tensor rows = x.to(torch::kFloat64);
  const Tensor mean = rows.mean(0);
  const Tensor centred = rows - mean;
  const auto [factor, failure] = torch::linalg_cholesky_ex(torch::matmul(centred.t(), centred) / rows.size(0));
  if (failure.item<int64_t>() != 0) return;
  Tensor lower = factor.index({rows_, columns_});
  lower.index_copy_(0, diagonal_, RawDiagonal(factor.diagonal()));
  lower_.copy_(lower);
  shift_.copy_(mean);
}

}  // namespace densityd::flow
