// What the tolerances of differential equations leave of a density's digits.
#pragma once

#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// How far log p of a row is off, in nats, where layers solve an equation: hardly more in 19 of 20 rows. 0 where none
/// does. Precondition: `spec` is checked and has its defaults.
double SolverNoise(const density::v1::FlowSpec& spec);

}  // namespace densityd::flow
