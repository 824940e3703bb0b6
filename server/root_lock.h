// One server for each root.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/base/posix.h"

namespace densityd {

/// Makes the folder `root` this process's own until the descriptor is closed: a server empties <root>/tmp and takes
/// over the trainings that it finds, which must not be another's. FAILED_PRECONDITION where another process has it.
/// Where the file system has no locks for folders (NFS), the log says that nothing was checked.
absl::StatusOr<FileDescriptor> LockRoot(const std::string& root);

}  // namespace densityd
