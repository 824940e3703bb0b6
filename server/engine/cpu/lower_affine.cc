#include "server/engine/cpu/lower_affine.h"

#include <cmath>
#include <tuple>
#include <utility>

#include "server/flow/columns.h"

namespace densityd::engine::cpu {
namespace {

using density::v1::Bijection;

/// diag = softplus(raw) + 1e-3, as flow_spec.proto defines LuLinear and FullAffine.
double PositiveDiagonal(double raw) {
  const double softplus = std::fmax(raw, 0) + std::log1p(std::exp(-std::abs(raw)));
  return softplus + 1e-3;
}

DiagonalLayer LowerAffineBijection(const Bijection& layer, int64_t features) {
  DiagonalLayer lowered{std::vector<double>(features, 0), std::vector<double>(features, 1)};
  for (int64_t column : flow::BijectionColumns(layer, features)) {
    lowered.center[column] = layer.shift();
    lowered.factor[column] = 1 / layer.scale();
  }
  return lowered;
}

/// The two maps of a bijection; constants and columns are the caller's.
std::pair<MapKind, MapKind> MapsOf(Bijection::Kind kind) {
  switch (kind) {
    case Bijection::LOG:
      return {MapKind::kLog, MapKind::kExp};
    case Bijection::SIGMOID:
      return {MapKind::kSigmoid, MapKind::kLogit};
    case Bijection::LOGIT:
      return {MapKind::kLogit, MapKind::kSigmoid};
    case Bijection::SOFTPLUS:
      return {MapKind::kSoftplus, MapKind::kSoftplusInverse};
    case Bijection::TANH:
      return {MapKind::kTanh, MapKind::kAtanh};
    case Bijection::LEAKY_RELU_BIJECTION:
      return {MapKind::kLeakyRelu, MapKind::kLeakyRelu};
    default:
      return {MapKind::kExp, MapKind::kLog};
  }
}

}  // namespace

DiagonalLayer LowerStandardize(const density::v1::Standardize& layer) {
  DiagonalLayer lowered;
  lowered.center.assign(layer.mean().begin(), layer.mean().end());
  for (double scale : layer.scale()) lowered.factor.push_back(1 / scale);
  return lowered;
}

DiagonalLayer LowerActNorm(const std::vector<double>& log_scale, const std::vector<double>& shift) {
  DiagonalLayer lowered{shift, {}};
  for (double number : log_scale) lowered.factor.push_back(std::exp(-number));
  return lowered;
}

DiagonalLayer LowerConstantElementwise(const UnivariateMap& univariate, const Matrix64& theta) {
  DiagonalLayer lowered;
  for (size_t j = 0; j < theta.rows; ++j) {
    const double c = univariate.constant;
    const bool scales = univariate.forward == MapKind::kAffineForward;
    lowered.center.push_back(theta(j, theta.cols - 1));
    lowered.factor.push_back(scales ? std::exp(-c * std::tanh(theta(j, 0) / c)) : 1);
  }
  return lowered;
}

MatrixLayer LowerLu(const Matrix64& lu, const std::vector<double>& bias) {
  const size_t features = lu.rows;
  Matrix64 lower(features, features);
  Matrix64 upper(features, features);
  MatrixLayer lowered;
  for (size_t i = 0; i < features; ++i) {
    for (size_t j = 0; j < features; ++j) (j < i ? lower : upper)(i, j) = lu(i, j);
    lower(i, i) = 1;
    upper(i, i) = PositiveDiagonal(lu(i, i));
    lowered.log_abs_det += std::log(upper(i, i));
  }
  lowered.matrix = Multiply(lower, upper);
  lowered.inverse = Multiply(InvertUpper(upper), InvertLower(lower));
  lowered.shift = bias;
  return lowered;
}

FullAffineLayers LowerFullAffine(const std::vector<double>& lower, const std::vector<double>& shift) {
  const size_t features = shift.size();
  Matrix64 matrix(features, features);
  double log_abs_det = 0;
  size_t next = 0;
  for (size_t i = 0; i < features; ++i) {
    for (size_t j = 0; j < i; ++j) matrix(i, j) = lower[next++];
    matrix(i, i) = PositiveDiagonal(lower[next++]);
    log_abs_det -= std::log(matrix(i, i));
  }
  FullAffineLayers lowered;
  lowered.centre = {shift, std::vector<double>(features, 1)};
  lowered.matrix.matrix = InvertLower(matrix);
  lowered.matrix.inverse = std::move(matrix);
  lowered.matrix.shift.resize(features);
  lowered.matrix.log_abs_det = log_abs_det;
  return lowered;
}

LoweredLayer LowerBijection(const Bijection& layer, int64_t features) {
  if (layer.kind() == Bijection::AFFINE) return LowerAffineBijection(layer, features);
  BijectionLayer lowered;
  lowered.columns = flow::BijectionColumns(layer, features);
  std::tie(lowered.forward, lowered.inverse) = MapsOf(layer.kind());
  const double columns = static_cast<double>(lowered.columns.size());
  if (layer.kind() == Bijection::SIGMOID || layer.kind() == Bijection::LOGIT) {
    lowered.forward_constant = lowered.inverse_constant = static_cast<float>(layer.alpha());
    // logit's slope has the factor 1 - 2 alpha, sigmoid's its inverse.
    const double log_width = std::log(1 - 2 * layer.alpha());
    lowered.log_abs_det = columns * (layer.kind() == Bijection::SIGMOID ? log_width : -log_width);
  } else if (layer.kind() == Bijection::LEAKY_RELU_BIJECTION) {
    lowered.forward_constant = static_cast<float>(layer.slope());
    lowered.inverse_constant = static_cast<float>(1 / layer.slope());
  }
  return lowered;
}

}  // namespace densityd::engine::cpu
