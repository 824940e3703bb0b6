// Whether a flow's density depends on its context.
#pragma once

#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// Whether some layer, or the base, reads the context of `spec`; true where there is none. Precondition:
/// CheckFlowSpec(spec) is OK.
bool ReadsContext(const density::v1::FlowSpec& spec);

}  // namespace densityd::flow
