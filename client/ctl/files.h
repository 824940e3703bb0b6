// Files of the caller, with "-" for standard input and output.
#pragma once

#include <iosfwd>
#include <string>

#include "absl/status/statusor.h"

namespace densityd::ctl {

/// The whole content of `path`, or of `in` for "-". NOT_FOUND or INVALID_ARGUMENT with the system's reason.
absl::StatusOr<std::string> ReadInput(const std::string& path, std::istream& in);

}  // namespace densityd::ctl
