// Checks of a FlowSpec, its defaults, and its presets. Free of LibTorch, so that a request is refused at once.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// INVALID_ARGUMENT with the path of the first field that is wrong, prefixed by `field` ("spec.layers[3].coupling.mask").
absl::Status CheckFlowSpec(const density::v1::FlowSpec& spec, std::string_view field = "spec");

/// The spec with every default written out. Precondition: CheckFlowSpec(spec) is OK.
density::v1::FlowSpec WithDefaults(density::v1::FlowSpec spec);

/// Expands a preset for D = `features` and C = `context_features`. INVALID_ARGUMENT naming "preset.<option>"; an unknown
/// name lists the known ones.
absl::StatusOr<density::v1::FlowSpec> ExpandPreset(const density::v1::Preset& preset, uint32_t features,
                                                   uint32_t context_features);

/// Number of learnt parameters. Precondition: CheckFlowSpec(spec) is OK.
uint64_t CountParameters(const density::v1::FlowSpec& spec);

}  // namespace densityd::flow
