// The little of the tar format (POSIX ustar) that archives of model versions are made of: regular files in one folder.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace densityd::registry {

inline constexpr size_t kTarBlock = 512;

/// The header block of a regular file. Precondition: `name` has 1 … 100 bytes.
std::string TarHeader(std::string_view name, uint64_t size);

/// Zeros that fill the last block of a member.
std::string TarPadding(uint64_t size);

/// What ends an archive.
std::string TarEnd();

/// Takes an archive apart while its bytes come, and keeps no more than one block. Refused are links, folders, devices,
/// extensions of any kind, wrong checksums, and anything but zeros behind the end: archives of `tar cf X.tar FILE…` are
/// fine. Errors are INVALID_ARGUMENT for the field "archive". Not thread-safe.
class TarReader {
 public:
  /// Told of each member in turn; an error ends the reading and is returned.
  struct Sink {
    std::function<absl::Status(const std::string& name, uint64_t size)> begin;
    std::function<absl::Status(std::string_view bytes)> data;
    std::function<absl::Status()> end;
  };

  explicit TarReader(Sink sink) : sink_(std::move(sink)) {}

  absl::Status Append(std::string_view bytes);
  /// All bytes were given: INVALID_ARGUMENT where the archive is cut off.
  absl::Status Finish() const;

 private:
  enum class State { kHeader, kData, kPadding, kEnd };

  absl::Status ReadHeader();
  absl::Status EndMember();

  const Sink sink_;
  State state_ = State::kHeader;
  std::string block_;     ///< the header as far as it came
  std::string name_;      ///< of the member that is read
  uint64_t left_ = 0;     ///< bytes of it that are still to come
  uint64_t padding_ = 0;  ///< and zeros behind them
  int zero_blocks_ = 0;
};

}  // namespace densityd::registry
