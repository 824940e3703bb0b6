// The network of a continuous flow.
#pragma once

#include <cstdint>
#include <vector>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/linear_layer.h"
#include "server/flow/module.h"

namespace densityd::flow {

/// v(x, t, c), a multi-layer perceptron, and the trace of its Jacobian J = dv/dx. Registers `0`, `1`, …: its linear
/// layers; the first one's inputs are the columns, the time (or its cosines, then its sines), and the context. The last
/// one starts at zero.
///
/// With slopes s_k of the activations, J = W_n s_(n-1) … s_1 W_1. Its trace is a linear form of s_1 for one hidden
/// layer and a bilinear one of s_1 and s_2 for two, with coefficients of the weights alone: exact for the price of
/// another evaluation, whatever D. For deeper networks it takes J itself, by its products with the unit vectors, or
/// with probes e: E e^T J e = tr J (Hutchinson 1990).
class VelocityNetwork final : public Module {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  VelocityNetwork(const density::v1::Continuous& spec, int64_t features, int64_t context_features,
                  Initializer& initializer);

  /// What is asked of the rows beside the velocity.
  struct Wanted {
    bool trace = true;
    bool squared_norm = false;
  };
  /// Whether that takes probes: for more columns than `exact_trace_features`.
  bool NeedsProbes(Wanted wanted) const;

  /// Coefficients of the linear or bilinear form, for a number of evaluations at the same weights; undefined for deeper
  /// networks.
  Tensor TraceForm() const;

  /// v and J at some rows.
  struct Field {
    Tensor velocity;      // (M, D)
    Tensor trace;         // (M, 1), of J
    Tensor squared_norm;  // (M, 1), |J|_F^2
  };
  /// x (M, D), t (M, 1), context (M, C) or undefined; probes (M or 1, P, D) of -1 and 1, undefined where none are
  /// needed.
  Field Compute(const Tensor& trace_form, const Tensor& x, const Tensor& t, const Tensor& context, const Tensor& probes,
                Wanted wanted) const;
  /// v alone.
  Tensor Velocity(const Tensor& x, const Tensor& t, const Tensor& context) const;

 private:
  Tensor Inputs(const Tensor& x, const Tensor& t, const Tensor& context) const;
  // W_1 for the columns.
  Tensor ColumnWeights() const { return layers_.front()->weight().narrow(1, 0, features_); }
  // J e for each direction e of (P, M or 1, D): (P, M, D).
  Tensor TimesJacobian(const std::vector<Tensor>& slopes, const Tensor& directions) const;
  bool is_exact() const { return features_ <= exact_features_; }

  const density::v1::Activation activation_;
  const int64_t features_;
  const int64_t exact_features_;
  Tensor frequencies_;  // (F), k pi; undefined where the time is an input as it is
  std::vector<std::shared_ptr<LinearLayer>> layers_;
};

}  // namespace densityd::flow
