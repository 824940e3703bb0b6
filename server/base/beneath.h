// Files that clients name, kept below a folder that the operator chose.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/posix.h"

namespace densityd {

/// Opens `path`, relative to the folder `root`, for reading. No part of the way below `root` may be "..", or a symbolic
/// link: what is opened lies below `root`, whatever anybody does to the folders meanwhile.
/// INVALID_ARGUMENT for `field` (empty, absolute, "..", NUL, a symbolic link, no regular file), NOT_FOUND (`path`, or
/// `root` itself), PERMISSION_DENIED; messages name `path` and what to do, never what lies outside `root`.
absl::StatusOr<FileDescriptor> OpenBeneath(const std::string& root, std::string_view field, std::string_view path);

/// The whole file. Errors as OpenBeneath, and INVALID_ARGUMENT where it is larger than `max_bytes`.
absl::StatusOr<std::string> ReadBeneath(const std::string& root, std::string_view field, std::string_view path,
                                        uint64_t max_bytes);

namespace internal {

/// OpenBeneath, with or without the kernel's openat2: tests hold both ways to the same promises.
absl::StatusOr<FileDescriptor> OpenBeneath(const std::string& root, std::string_view field, std::string_view path,
                                           bool use_openat2);

}  // namespace internal
}  // namespace densityd
