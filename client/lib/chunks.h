// How a large call is cut into requests that fit the limits.
#pragma once

#include <algorithm>
#include <cstddef>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "densityd/options.h"

namespace densityd::client_internal {

/// Most rows per request, where a row takes `row_bytes` in the larger of request and answer and every message has
/// `fixed_bytes` besides. INVALID_ARGUMENT where not even one row fits.
absl::StatusOr<size_t> RowsPerRequest(const ClientOptions& options, size_t row_bytes, size_t fixed_bytes);

/// Calls `call(begin, count)` for consecutive chunks of [0, rows). The first error ends it; from the second chunk on it
/// says from which row the row numbers in the message count.
absl::Status ForEachChunk(size_t rows, size_t chunk_rows, absl::FunctionRef<absl::Status(size_t, size_t)> call);

}  // namespace densityd::client_internal
