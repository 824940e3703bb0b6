// Lowering of learnt rotations to plain matrices (server/flow/rotations.h defines them).
#pragma once

#include <cstddef>
#include <vector>

#include "density/v1/flow_spec.pb.h"
#include "server/engine/cpu/lowered.h"

namespace densityd::engine::cpu {

/// The reflections along the rows of `vectors` (K, D), the first of them applied to x first.
MatrixLayer LowerHouseholder(const Matrix64& vectors);

/// The rotation of the skew-symmetric matrix (D, D) whose numbers below the diagonal are `skew`, row after row.
MatrixLayer LowerOrthogonal(const std::vector<double>& skew, density::v1::Orthogonal::Map map, size_t features);

}  // namespace densityd::engine::cpu
