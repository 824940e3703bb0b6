// Sylvester flows: planar flows with several hidden units.
#pragma once

#include "density/v1/flow_spec.pb.h"
#include "server/flow/bends.h"

namespace densityd::flow {

/// y = x + Q R1 tanh(R2 Q^T x + b) (van den Berg et al. 2018, equation 13), log|det| = sum_i log(1 + r1_ii r2_ii h'_i).
/// Registers `vectors` (M, D), whose reflections make the orthonormal Q (D, M); `r1` and `r2` (M (M + 1) / 2), the
/// upper triangles row by row, r2_ii = 1e-3 + softplus(raw), r1_ii r2_ii = m(raw) > -0.999; and `bias` (M). R1 starts
/// at zero.
class Sylvester final : public Bend {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  Sylvester(const density::v1::Sylvester& spec, int64_t features, Initializer& initializer);

 private:
  struct Numbers;
  Numbers Compute() const;
  Tensor Triangle(const Tensor& entries, const Tensor& diagonal) const;
  Mapped Apply(const Tensor& x, const Tensor& context) override;
  Tensor Solve(const Tensor& y, const Tensor& context) override;

  const int64_t hidden_;
  Tensor vectors_;
  Tensor r1_;
  Tensor r2_;
  Tensor bias_;
  Tensor identity_;  // the first M columns of the identity, (D, M)
  Tensor rows_;      // row of each entry of a triangle
  Tensor columns_;   // column of each entry of a triangle
  Tensor diagonal_;  // indices of the diagonal entries
};

}  // namespace densityd::flow
