// What FlowSpec defines and BuildFlow cannot make yet.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// UNIMPLEMENTED for `field`.
absl::Status NotBuilt(const std::string& field);

/// UNIMPLEMENTED with the path of the first part of `spec` that is defined in the proto but not built yet, prefixed by
/// `field` ("spec.layers[3].planar").
absl::Status CheckBuilt(const density::v1::FlowSpec& spec, const std::string& field);

/// Whether `name` is a preset of the proto's table that is not built yet.
bool IsUnbuiltPreset(std::string_view name);

}  // namespace densityd::flow
