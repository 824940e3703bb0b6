// Rows of a CSV or NPY file that a client names.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/training/row_source.h"

namespace densityd::training {

/// The rows of the file `path` below the folder `root`. Reads the file once, to count them; never holds more than a
/// part of it. INVALID_ARGUMENT, NOT_FOUND or PERMISSION_DENIED for "file", as OpenBeneath and ParseTable.
absl::StatusOr<std::unique_ptr<RowSource>> OpenTableFile(const std::string& root, const std::string& path);

}  // namespace densityd::training
