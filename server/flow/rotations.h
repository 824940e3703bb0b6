// Learnt rotations of whole rows.
#pragma once

#include "density/v1/flow_spec.pb.h"
#include "server/flow/linear_layer.h"
#include "server/flow/transform.h"

namespace densityd::flow {

/// H_K … H_1 `matrix` (D, M) with the reflections H = I - 2 v v^T / |v|^2 of the rows v of `vectors` (K, D). A vector
/// of zeros reflects nothing.
Tensor Reflect(const Tensor& vectors, Tensor matrix);

/// z = Q x with an orthogonal matrix Q (D, D); log|det| = 0.
class Rotation : public Transform {
 public:
  Mapped Forward(const Tensor& z, const Tensor& context) final;
  Mapped Inverse(const Tensor& x, const Tensor& context) final;

 private:
  virtual Tensor Matrix() const = 0;
};

/// Q = H_K … H_1 with reflections H = I - 2 v v^T / |v|^2 (Tomczak & Welling 2016). Registers `vectors` (K, D), the v,
/// in equal pairs at the start.
class Householder final : public Rotation {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  Householder(const density::v1::Householder& spec, int64_t features, Initializer& initializer);

 private:
  Tensor Matrix() const override;

  Tensor vectors_;
  Tensor identity_;
};

/// Q = exp(A), or Cayley's (I + A / 2) (I - A / 2)^-1, of a skew-symmetric A. Registers `skew` (D (D - 1) / 2): A below
/// its diagonal, row by row.
class Orthogonal final : public Rotation {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  Orthogonal(const density::v1::Orthogonal& spec, int64_t features);

 private:
  Tensor Matrix() const override;

  const bool cayley_;
  Tensor skew_;
  Tensor identity_;
  Tensor rows_;     // row of each entry of `skew`
  Tensor columns_;  // column of each entry of `skew`
};

}  // namespace densityd::flow
