// Names that come from outside, checked before they come near a path.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace densityd::registry {

/// `name`, `name@3` or `name@stable`, taken apart. Without suffix: alias "latest".
struct ModelReference {
  std::string name;
  std::optional<uint64_t> version;
  std::string alias;  ///< set if and only if `version` is not
};

/// Model names: 1 … 128 characters of [a-z0-9_.-], starting with a letter or digit, not ending in a dot.
/// INVALID_ARGUMENT for `field`, with the offending bytes escaped.
absl::Status CheckModelName(std::string_view field, std::string_view name);
/// Alias names: 1 … 64 characters of [a-z0-9_-], starting with a letter.
absl::Status CheckAliasName(std::string_view field, std::string_view alias);
/// Ids of trainings and datasets: 1 … 64 characters of [a-z0-9-], starting with a letter.
absl::Status CheckId(std::string_view field, std::string_view id);
inline constexpr uint64_t kMaxVersion = 999'999'999'999'999'999;

/// A version as it is spelt in references and folders: decimal digits, from 1 to kMaxVersion, without leading zeros.
/// None for all else.
std::optional<uint64_t> ParseVersionNumber(std::string_view text);
/// INVALID_ARGUMENT for `field`.
absl::StatusOr<ModelReference> ParseModelReference(std::string_view field, std::string_view reference);

}  // namespace densityd::registry
