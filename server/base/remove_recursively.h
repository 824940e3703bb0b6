// Removal of whole folders.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace densityd {

/// Removes `path` and all below it. Symbolic links are removed, never followed, even where someone replaces a folder by
/// a link meanwhile. OK where absent. Errors as FileSystem; what could be removed before the error is gone.
absl::Status RemoveTree(const std::string& path);

}  // namespace densityd
