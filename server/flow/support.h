// Which values each layer can meet: a layer such as x = log(z) is defined for positive z only.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// The values that a column can take lie within [low, high].
struct Interval {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
};

/// Where the density of each data column can be above zero, (D). Precondition: CheckSupport is OK.
std::vector<Interval> DataSupport(const density::v1::FlowSpec& spec);

/// INVALID_ARGUMENT with the path of the first layer, seen from the base, that the layers between it and the base can
/// hand a value for which its Forward map is not defined. Precondition: each layer passes CheckLayer.
absl::Status CheckSupport(const density::v1::FlowSpec& spec, const std::string& field);

}  // namespace densityd::flow
