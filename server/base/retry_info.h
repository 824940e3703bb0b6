// When to come back.
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace densityd {

/// Adds a google.rpc.RetryInfo to `status`: the same request may be answered after `delay`.
void AttachRetryInfo(absl::Duration delay, absl::Status& status);

}  // namespace densityd
