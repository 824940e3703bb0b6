// Which values each layer can meet: a layer such as x = log(z) is defined for positive z only.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// INVALID_ARGUMENT with the path of the first layer, seen from the base, that the layers between it and the base can
/// hand a value for which its Forward map is not defined. Precondition: each layer passes CheckLayer.
absl::Status CheckSupport(const density::v1::FlowSpec& spec, const std::string& field);

}  // namespace densityd::flow
