// Continuous flows.
#pragma once

#include <memory>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/transform.h"
#include "server/flow/velocity_network.h"

namespace densityd::flow {

/// dx/dt = v(x, t, c), x(0) = data, x(1) = z, and log|det dz/dx| = integral of tr(dv/dx) (Chen et al. 2018; FFJORD,
/// Grathwohl et al. 2019). Registers `network`. Solved by SolveOde, log|det| with its own error control. In evaluation
/// mode a row that meets the step limit throws RowError; in training it is NaN, so that the step is skipped.
/// Where the trace is estimated, evaluation uses the same probes for every row and call, and training fresh ones of
/// each row; within a solve they stay.
class Continuous final : public Transform {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  Continuous(const density::v1::Continuous& spec, int64_t features, int64_t context_features, Initializer& initializer);
  Mapped Forward(const Tensor& z, const Tensor& context) override;
  Mapped Inverse(const Tensor& x, const Tensor& context) override;
  Mapped InverseWithProbes(const Tensor& x, const Tensor& context, uint64_t draw) override;
  /// The regularisation of RNODE (Finlay et al. 2020): integrals of |v|^2 and |dv/dx|_F^2 over t, times their weights.
  Regularised InverseForTraining(const Tensor& x, const Tensor& context) override;
  /// Flow matching (Lipman et al. 2023): |v((1 - t) x + t z, t) - (z - x)|^2, (N), at one random t per row. The times
  /// of a batch are evenly spread, which leaves their mean as it is and makes it less noisy.
  Tensor MatchingLoss(const Tensor& x, const Tensor& z, const Tensor& context) const;

 private:
  enum class Direction { kForward, kInverse };
  // State after the solve: the rows, the integral of the trace, and those of what regularises. `probes` (1, P, D) are
  // taken in evaluation mode, where any are needed.
  Tensor Solve(const Tensor& start, const Tensor& context, const Tensor& probes, Direction direction,
               bool regularise) const;
  Mapped Map(const Tensor& start, const Tensor& context, const Tensor& probes, Direction direction) const;

  const density::v1::Continuous spec_;
  const int64_t features_;
  Tensor probes_;  // (1, P, D); undefined where nothing needs them
  std::shared_ptr<VelocityNetwork> network_;
};

}  // namespace densityd::flow
