// Invertible maps, the parts that a flow is a chain of.
#pragma once

#include <cstdint>

#include "server/flow/module.h"

namespace densityd::flow {

/// Mapped rows (N, D) and the log|det| of the map at each row (N), in nats.
struct Mapped {
  Tensor value;
  Tensor log_abs_det;
};

/// Mapped rows, and what a training adds to each row's loss (N); undefined: nothing.
struct Regularised {
  Mapped mapped;
  Tensor penalty;
};

/// Invertible map between base space z (N, D) and data space x (N, D), optionally given a context (N, C).
/// Every method takes an undefined `context` where the flow has none. Differentiable. Not thread-safe while training;
/// const use under inference mode is.
///
/// A point outside the set that the map is defined on has density zero: its log|det| is -infinity, and its value is
/// some finite number, so that the layers after it stay finite too. A row that cannot be computed throws RowError
/// (row_error.h) in evaluation mode, and is NaN in training.
class Transform : public Module {
 public:
  /// z -> x, log|det dx/dz|.
  virtual Mapped Forward(const Tensor& z, const Tensor& context) = 0;
  /// x -> z, log|det dz/dx|.
  virtual Mapped Inverse(const Tensor& x, const Tensor& context) = 0;

  /// Inverse as a training takes it.
  virtual Regularised InverseForTraining(const Tensor& x, const Tensor& context) {
    return {Inverse(x, context), Tensor()};
  }

  /// Inverse with other probes where log|det| is estimated with random ones: another, independent estimate for each
  /// `draw`, the same for every row. Where it is exact: Inverse.
  virtual Mapped InverseWithProbes(const Tensor& x, const Tensor& context, uint64_t /*draw*/) {
    return Inverse(x, context);
  }

  /// Sets parameters that start from data (ActNorm, FullAffine), given the rows that reach this layer in the density
  /// direction. Called once, before the first step of a training, never when serving.
  virtual void InitializeFromData(const Tensor& /*x*/, const Tensor& /*context*/) {}
};

}  // namespace densityd::flow
