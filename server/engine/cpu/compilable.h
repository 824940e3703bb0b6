// Which specs have a compiled form.
#pragma once

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"

namespace densityd::engine::cpu {

/// UNIMPLEMENTED with the path of the first set field, or enum value, that lowering does not know: whatever is added to
/// FlowSpec is served by the reference plan until lowering has it. Precondition: `spec` has its defaults.
absl::Status CheckCompilable(const density::v1::FlowSpec& spec);

}  // namespace densityd::engine::cpu
