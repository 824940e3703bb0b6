// What a model with an encoded context takes.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/base/matrix.h"
#include "server/flow/context_column.h"

namespace densityd::rpc {

/// Checks that each number of `context` (n, C) can be encoded. INVALID_ARGUMENT naming `field`, the first bad row and
/// its first bad column, with the value: an unknown category, a missing number where none is accepted, a number outside
/// of the column's support.
absl::Status CheckEncodable(std::string_view field, const ConstMatrix& context,
                            absl::Span<const flow::ContextColumn> columns);

}  // namespace densityd::rpc
