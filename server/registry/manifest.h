// manifest.json as text (docs/model-format.md).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "density/v1/model_registry.pb.h"

namespace densityd::registry {

inline constexpr uint32_t kManifestFormat = 1;
inline constexpr size_t kMaxManifestBytes = 64 << 20;
inline constexpr char kManifestFile[] = "manifest.json";
inline constexpr char kManifestDigestFile[] = "manifest.sha256";
inline constexpr char kWeightsFile[] = "weights.safetensors";

/// INVALID_ARGUMENT where it is longer than kMaxManifestBytes.
absl::StatusOr<std::string> FormatManifest(const density::v1::ModelManifest& manifest);

/// The line of manifest.sha256 for the text of a manifest.
std::string FormatManifestDigest(std::string_view manifest_text);

/// Reads a manifest and checks it against its digest line, its format and `name`. DATA_LOSS naming `folder`/<file>;
/// FAILED_PRECONDITION for a format that is newer than this program.
absl::StatusOr<density::v1::ModelManifest> ParseManifest(std::string_view text, std::string_view digest_line,
                                                         std::string_view folder, std::string_view name);

/// The same for a manifest that is in no folder yet: its name may be any model's.
absl::StatusOr<density::v1::ModelManifest> ParseAnyManifest(std::string_view text, std::string_view digest_line,
                                                            std::string_view folder);

}  // namespace densityd::registry
