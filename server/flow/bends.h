// Planar, radial and Sylvester flows: y = x plus a small network of x, with a condition on its weights that keeps the
// map invertible, and an inverse that solves for x.
#pragma once

#include <memory>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/conditioner.h"
#include "server/flow/transform.h"

namespace densityd::flow {

/// A map y = f(x) whose formula is one direction of the transform, and whose inverse is the other.
class Bend : public Transform {
 public:
  explicit Bend(density::v1::Autoregressive::ParallelDirection parallel);
  Mapped Forward(const Tensor& z, const Tensor& context) final;
  Mapped Inverse(const Tensor& x, const Tensor& context) final;

 private:
  /// y = f(x), log|det dy/dx|.
  virtual Mapped Apply(const Tensor& x, const Tensor& context) = 0;
  /// The x of y = f(x).
  virtual Tensor Solve(const Tensor& y, const Tensor& context) = 0;
  Mapped Undo(const Tensor& y, const Tensor& context);

  const bool density_;
};

/// The numbers of a bend: learnt, plus what a network makes of the context.
class BendParameters final : public Module {
 public:
  /// Registers `theta`, which starts as `start` (P), and with a context and a conditioner `conditioner`.
  BendParameters(const Tensor& start, const density::v1::Conditioner* conditioner, int64_t context_features,
                 Initializer& initializer);
  /// (1, P), or (N, P) given a context.
  Tensor Compute(const Tensor& context);

 private:
  Tensor theta_;
  std::shared_ptr<Conditioner> conditioner_;
};

/// y = x + u tanh(w . x + b) (Rezende & Mohamed 2015, equations 10 to 12). `parameters.theta` is (u, w, b), u before
/// its correction; u starts at zero.
class Planar final : public Bend {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  Planar(const density::v1::Planar& spec, int64_t features, int64_t context_features, Initializer& initializer);

 private:
  struct Numbers;
  Numbers Compute(const Tensor& context);
  Mapped Apply(const Tensor& x, const Tensor& context) override;
  Tensor Solve(const Tensor& y, const Tensor& context) override;

  const int64_t features_;
  std::shared_ptr<BendParameters> parameters_;
};

/// y = x + beta (x - x0) / (alpha + |x - x0|) (Rezende & Mohamed 2015, equation 14). `parameters.theta` is (x0, raw
/// alpha, raw beta), beta = alpha m(raw); beta starts at zero.
class Radial final : public Bend {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  Radial(const density::v1::Radial& spec, int64_t features, int64_t context_features, Initializer& initializer);

 private:
  struct Numbers;
  Numbers Compute(const Tensor& context);
  Mapped Apply(const Tensor& x, const Tensor& context) override;
  Tensor Solve(const Tensor& y, const Tensor& context) override;

  const int64_t features_;
  std::shared_ptr<BendParameters> parameters_;
};

/// The smallest slope that a bend keeps is one minus this.
inline constexpr double kMaxContraction = 0.999;

/// An increasing m with m(0) = 0, m'(0) = 1 and m > -0.999: a, and k (e^(a / k) - 1) below zero.
Tensor AboveMinusOne(const Tensor& a);

}  // namespace densityd::flow
