// Fixed maps between data and what a network likes to see: part of the density, never trained.
#pragma once

#include "density/v1/flow_spec.pb.h"
#include "server/flow/triangular.h"

namespace densityd::flow {

/// z = (x - mean) / scale. Computed in float64 whatever the flow's dtype, so that columns such as timestamps keep their
/// small differences; x may be of any floating dtype, z is of the flow's. Registers nothing.
class Standardize final : public TriangularTransform {
 public:
  /// Precondition: `spec` is fitted.
  explicit Standardize(const density::v1::Standardize& spec);
  Mapped Forward(const Tensor& z, const Tensor& context) override;
  Mapped Inverse(const Tensor& x, const Tensor& context) override;
  MappedColumns InverseByColumn(const MappedColumns& x, const Tensor& context) override;

 private:
  Tensor mean_;
  Tensor scale_;
  Tensor log_abs_det_;  // log|det dz/dx|
};

/// An elementary bijection of some columns; the others pass. Registers nothing.
class Bijection final : public TriangularTransform {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  Bijection(const density::v1::Bijection& spec, int64_t features);
  Mapped Forward(const Tensor& z, const Tensor& context) override;
  Mapped Inverse(const Tensor& x, const Tensor& context) override;
  MappedColumns InverseByColumn(const MappedColumns& x, const Tensor& context) override;

 private:
  const density::v1::Bijection spec_;
  Tensor columns_;
};

}  // namespace densityd::flow
