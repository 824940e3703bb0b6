// The serving process: makes the parts, joins them, and takes them apart again.
#pragma once

#include "absl/status/status.h"
#include "server/flags.h"

namespace densityd {

/// Serves until SIGTERM or SIGINT, then drains and returns. A second signal ends the process at once.
absl::Status Serve(const Flags& flags);

}  // namespace densityd
