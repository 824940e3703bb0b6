// An affine map of columns with a bounded scale as one operation with a gradient of its own.
#pragma once

#include "server/flow/bounded_affine.h"
#include "server/flow/elementary.h"

namespace densityd::flow {

/// Whether FusedAffine suits these numbers now: float32 on a CPU, and gradients are asked for.
bool SuitsFusedAffine(const Tensor& x, const Tensor& theta);

/// `map` of x (N, K) with theta (N, K, 2), and log g. Within 2e-6 of what LibTorch's operations give; gradients of
/// gradients are computed by these.
MappedColumns FusedAffine(const BoundedAffine& map, const Tensor& x, const Tensor& theta);

}  // namespace densityd::flow
