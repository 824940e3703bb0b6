// Lowering of layers that need no network: affine ones and elementary bijections.
#pragma once

#include <cstdint>
#include <vector>

#include "density/v1/flow_spec.pb.h"
#include "server/engine/cpu/lowered.h"

namespace densityd::engine::cpu {

DiagonalLayer LowerStandardize(const density::v1::Standardize& layer);

/// z = (x - shift) exp(-log_scale).
DiagonalLayer LowerActNorm(const std::vector<double>& log_scale, const std::vector<double>& shift);

/// Maps with the parameters theta (D, P), which do not depend on the row. Precondition: univariate.is_plain().
DiagonalLayer LowerConstantElementwise(const UnivariateMap& univariate, const Matrix64& theta);

/// z = L U x + bias; `lu` holds L below the diagonal, U above it, and the raw diagonal of U.
MatrixLayer LowerLu(const Matrix64& lu, const std::vector<double>& bias);

/// The inverse of x = A z + shift, as x - shift and a product with A^-1.
struct FullAffineLayers {
  DiagonalLayer centre;
  MatrixLayer matrix;
};

/// `lower` holds the rows of A up to the diagonal, one after the other, with a raw diagonal.
FullAffineLayers LowerFullAffine(const std::vector<double>& lower, const std::vector<double>& shift);

/// A diagonal layer for AFFINE on some columns, else a bijection.
LoweredLayer LowerBijection(const density::v1::Bijection& layer, int64_t features);

}  // namespace densityd::engine::cpu
