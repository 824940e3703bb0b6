// One server for each root.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/base/posix.h"

namespace densityd {

inline constexpr char kRootLockFile[] = "/lock";

/// Makes the folder `root` this process's own until the descriptor is closed: a server empties <root>/tmp and takes
/// over the trainings that it finds, which must not be another's. It locks the file <root>/lock, made where absent and
/// open for writing, so that on a file system of the network (NFS) the lock holds for other machines, too.
/// FAILED_PRECONDITION where another process has it. Where the file system is read-only or has no locks, the log says
/// that nothing was checked.
absl::StatusOr<FileDescriptor> LockRoot(const std::string& root);

}  // namespace densityd
