// A flow as plain numbers in float64: what lies between a FlowSpec with its tensors and a Program.
//
// Layers stand in the order of Inverse (x -> z), as in the spec. Masks are applied, units are sorted by degree, and
// whatever does not depend on the row is a number.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "server/engine/cpu/edge.h"
#include "server/engine/cpu/matrix64.h"
#include "server/engine/cpu/program.h"

namespace densityd::engine::cpu {

/// A linear layer of a conditioner. Degrees (flow/made_degrees.h) ascend, and are empty where nothing is masked.
struct Linear {
  Matrix64 weight;  ///< (units, inputs)
  std::vector<double> bias;
  std::vector<int64_t> input_degrees;
  std::vector<int64_t> degrees;

  size_t units() const { return weight.rows; }
  size_t inputs() const { return weight.cols; }
  /// Inputs that `unit` depends on are the first Reach(unit).
  size_t Reach(size_t unit) const;
};

/// Inputs: the C context columns, then columns. Outputs: for each transformed column its parameters.
struct Network {
  ActivationKind activation = ActivationKind::kRelu;
  bool residual = false;       ///< layers: input, then two per block, then output
  std::vector<Linear> layers;  ///< linear, activation, …, linear where not residual
};

/// What the parameters of a column mean; see MapKind.
struct UnivariateMap {
  MapKind forward = MapKind::kAffineForward;  ///< z -> x
  MapKind inverse = MapKind::kAffineInverse;  ///< x -> z
  uint32_t parameters = 2;
  double constant = 0;
  AffineForm affine;
  SplineForm spline;

  /// Whether constant parameters make it a DiagonalLayer.
  bool is_plain() const {
    return forward == MapKind::kShiftForward ||
           (forward == MapKind::kAffineForward && affine.scale == ScaleKind::kTanh && !affine.is_reciprocal);
  }
};

/// Columns mapped with parameters from a network: coupling, autoregressive and conditional elementwise layers.
struct ConditionedLayer {
  Network network;
  UnivariateMap univariate;
  std::vector<int64_t> inputs;  ///< columns that the network reads after the context
  /// Columns that are mapped, in the order of the network's outputs. Autoregressive: the same as `inputs`.
  std::vector<int64_t> outputs;
  bool autoregressive = false;
  bool parallel_inverse = true;  ///< autoregressive: x -> z is one pass (MAF); otherwise z -> x is (IAF)
};

/// z = (x - center) * factor per column.
struct DiagonalLayer {
  std::vector<double> center;
  std::vector<double> factor;
};

/// z = matrix x + shift.
struct MatrixLayer {
  Matrix64 matrix;
  Matrix64 inverse;
  std::vector<double> shift;
  double log_abs_det = 0;  ///< of `matrix`
};

/// z[j] = x[columns[j]].
struct PermutationLayer {
  std::vector<int64_t> columns;
};

/// An elementary bijection of some columns.
struct BijectionLayer {
  MapKind forward = MapKind::kExp;  ///< z -> x
  MapKind inverse = MapKind::kLog;  ///< x -> z
  float forward_constant = 0;
  float inverse_constant = 0;
  std::vector<int64_t> columns;
  double log_abs_det = 0;  ///< constant part of log|det dz/dx|
};

using LoweredLayer = std::variant<ConditionedLayer, DiagonalLayer, MatrixLayer, PermutationLayer, BijectionLayer>;

/// A whole flow. The base is N(mean, diag(exp(log_scale))^2), empty vectors for N(0, I).
struct LoweredFlow {
  size_t features = 0;
  size_t context_features = 0;  ///< as networks see the context
  DiagonalLayer context;        ///< applied to the context first; empty vectors: nothing is
  Edge edge;
  std::vector<LoweredLayer> layers;
  std::vector<double> base_mean;
  std::vector<double> base_log_scale;
};

}  // namespace densityd::engine::cpu
