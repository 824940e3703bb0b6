// A plan as the API tells it.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "density/v1/model_registry.pb.h"
#include "server/engine/plan.h"

namespace densityd::rpc {

/// The operation that a request means; unspecified: log_prob. INVALID_ARGUMENT naming `field`.
absl::StatusOr<engine::Op> ResolveOp(std::string_view field, density::v1::RowOp op);

/// `plan` and what it does for `op`; name and version are left empty.
density::v1::PlanDetail DescribePlan(const engine::Plan& plan, engine::Op op);

}  // namespace densityd::rpc
