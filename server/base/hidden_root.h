// Error messages without the server's folders.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace densityd {

/// Turns paths below the server's root into paths relative to it: logs tell where a file is, callers need only know
/// which. Cheap to copy; thread-safe.
class HiddenRoot {
 public:
  /// Hides nothing.
  HiddenRoot() = default;
  /// Hides `root` as it was given and as it is without symbolic links. The folder should exist.
  explicit HiddenRoot(const std::string& root);

  /// `text` with every "<root>/" taken away.
  std::string In(std::string_view text) const;
  /// The same for the message and the details of a status.
  absl::Status In(const absl::Status& status) const;
  template <typename T>
  absl::StatusOr<T> In(absl::StatusOr<T> value) const {
    if (value.ok()) return value;
    return In(value.status());
  }

 private:
  std::vector<std::string> prefixes_;  ///< longest first, each ends in a slash
};

}  // namespace densityd
