// aliases.json as text (docs/model-format.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace densityd::registry {

inline constexpr char kAliasFile[] = "aliases.json";
inline constexpr size_t kMaxAliasFileBytes = 1 << 20;
inline constexpr char kLatest[] = "latest";

/// What the file holds; the default is what an absent file means.
struct AliasRecord {
  uint64_t revision = 0;
  /// Alias -> version. `latest` only where it was set.
  std::map<std::string, uint64_t> versions;
  /// The highest version that was ever deleted.
  uint64_t highest_deleted = 0;
};

std::string FormatAliases(const AliasRecord& record);
/// DATA_LOSS naming `file`.
absl::StatusOr<AliasRecord> ParseAliases(std::string_view text, std::string_view file);

}  // namespace densityd::registry
