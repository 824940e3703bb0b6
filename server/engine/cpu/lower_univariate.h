// Lowering of univariate maps.
#pragma once

#include "density/v1/flow_spec.pb.h"
#include "server/engine/cpu/lowered.h"

namespace densityd::engine::cpu {

/// Kinds and constants of the maps in both directions. Precondition: `univariate` is checked, has its defaults, and
/// CheckCompilable is OK.
UnivariateMap LowerUnivariate(const density::v1::Univariate& univariate);

}  // namespace densityd::engine::cpu
