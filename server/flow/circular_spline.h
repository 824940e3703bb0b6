// Splines of columns some of which are circles (Rezende et al. 2020, "Normalizing flows on tori and spheres").
#pragma once

#include <memory>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/columns.h"
#include "server/flow/univariate.h"

namespace densityd::flow {

/// The spline of `columns`: those that `spec.circular` names are circles. Precondition: `spec` is checked and has its
/// defaults.
std::unique_ptr<Univariate> MakeSpline(const density::v1::RationalQuadraticSpline& spec, const Columns& columns);

}  // namespace densityd::flow
