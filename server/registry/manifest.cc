#include "server/registry/manifest.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/sha256.h"
#include "server/base/strings.h"
#include "server/registry/names.h"

namespace densityd::registry {
namespace {

using density::v1::ModelManifest;

constexpr size_t kDigestBytes = 64;

bool IsDigest(std::string_view text) {
  return text.size() == kDigestBytes && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

absl::Status CheckDigest(std::string_view text, std::string_view digest_line, std::string_view folder) {
  const std::string_view stored = digest_line.substr(0, kDigestBytes);
  const std::string computed = Sha256Hex(text);
  if (stored == computed && digest_line == FormatManifestDigest(text)) return absl::OkStatus();
  if (!IsDigest(stored) || digest_line.substr(kDigestBytes) != absl::StrCat("  ", kManifestFile, "\n")) {
    return DataLoss(absl::StrCat(ToAbsl(folder), "/", kManifestDigestFile), "", "is not one line of sha256sum");
  }
  return DataLoss(absl::StrCat(ToAbsl(folder), "/", kManifestFile), "",
                  absl::StrCat("has SHA-256 ", computed, "; ", kManifestDigestFile, " says ", ToAbsl(stored)));
}

/// Strict: a field that is not known could change what the numbers mean.
absl::Status ParseJson(std::string_view text, const std::string& file, ModelManifest& manifest) {
  const auto status = google::protobuf::util::JsonStringToMessage(std::string(text), &manifest);
  if (status.ok()) return absl::OkStatus();
  google::protobuf::util::JsonParseOptions lenient;
  lenient.ignore_unknown_fields = true;
  ModelManifest known;
  if (google::protobuf::util::JsonStringToMessage(std::string(text), &known, lenient).ok() &&
      known.format() > kManifestFormat) {
    manifest.set_format(known.format());
    return absl::OkStatus();
  }
  return DataLoss(file, "", absl::StrCat("is no manifest: ", std::string(status.message())));
}

bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name.front() != '.' &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
}

absl::Status CheckFiles(const ModelManifest& manifest, const std::string& file) {
  absl::flat_hash_set<std::string> names;
  for (const density::v1::StoredFile& stored : manifest.files()) {
    if (!IsPlainFileName(stored.name()) || !IsDigest(stored.sha256()) || !names.insert(stored.name()).second) {
      return DataLoss(
          file, "files",
          absl::StrCat("lists ", Quote(stored.name()), " with SHA-256 ", Quote(stored.sha256()), ", which cannot be"));
    }
  }
  if (!names.contains(kWeightsFile)) return DataLoss(file, "files", absl::StrCat("does not list ", kWeightsFile));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> FormatManifest(const ModelManifest& manifest) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(manifest, &text, options);
  if (!status.ok()) return InvalidArgument("manifest", std::string(status.message()));
  if (text.size() > kMaxManifestBytes) {
    return InvalidArgument("manifest", absl::StrCat("has ", text.size(), " bytes; the limit is ", kMaxManifestBytes));
  }
  return text;
}

std::string FormatManifestDigest(std::string_view manifest_text) {
  return absl::StrCat(Sha256Hex(manifest_text), "  ", kManifestFile, "\n");
}

absl::StatusOr<ModelManifest> ParseManifest(std::string_view text, std::string_view digest_line,
                                            std::string_view folder, std::string_view name) {
  absl::StatusOr<ModelManifest> manifest = ParseAnyManifest(text, digest_line, folder);
  if (!manifest.ok() || manifest->name() == name) return manifest;
  return DataLoss(absl::StrCat(ToAbsl(folder), "/", kManifestFile), "name",
                  absl::StrCat(Quote(manifest->name()), " is not the folder's"));
}

absl::StatusOr<ModelManifest> ParseAnyManifest(std::string_view text, std::string_view digest_line,
                                               std::string_view folder) {
  const std::string file = absl::StrCat(ToAbsl(folder), "/", kManifestFile);
  if (absl::Status status = CheckDigest(text, digest_line, folder); !status.ok()) return status;
  ModelManifest manifest;
  if (absl::Status status = ParseJson(text, file, manifest); !status.ok()) return status;
  if (manifest.format() > kManifestFormat) {
    return FailedPrecondition("file", file,
                              absl::StrCat(file, ": has format ", manifest.format(),
                                           ", written by a newer densityd; this one reads format ", kManifestFormat));
  }
  if (manifest.format() != kManifestFormat) {
    return DataLoss(file, "format", absl::StrCat(manifest.format(), " is not a format"));
  }
  if (absl::Status status = CheckModelName("name", manifest.name()); !status.ok()) {
    return DataLoss(file, "name", std::string(status.message()));
  }
  if (absl::Status status = CheckFiles(manifest, file); !status.ok()) return status;
  return manifest;
}

}  // namespace densityd::registry
