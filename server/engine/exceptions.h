// The edge at which exceptions of LibTorch become statuses. Free of LibTorch headers.
#pragma once

#include <exception>
#include <string_view>

#include "absl/status/status.h"

namespace densityd::engine {

/// RESOURCE_EXHAUSTED where memory of the host or the device was short, else INTERNAL. `doing` begins the message
/// ("running log_prob on cuda:0").
absl::Status ExceptionStatus(const std::exception& error, std::string_view doing);

}  // namespace densityd::engine
