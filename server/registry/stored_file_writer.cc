#include "server/registry/stored_file_writer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/registry/manifest.h"

namespace densityd::registry {
namespace {

absl::Status WriteTextFile(FileSystem& files, const std::string& folder, const char* name, const std::string& text) {
  absl::StatusOr<StoredFileWriter> writer = StoredFileWriter::Create(files, folder, name);
  if (!writer.ok()) return writer.status();
  if (absl::Status status = writer->Append(text); !status.ok()) return status;
  return writer->Finish().status();
}

}  // namespace

absl::StatusOr<StoredFileWriter> StoredFileWriter::Create(FileSystem& files, const std::string& folder,
                                                          std::string name) {
  absl::StatusOr<std::unique_ptr<WritableFile>> file = files.Create(absl::StrCat(folder, "/", name));
  if (!file.ok()) return file.status();
  return StoredFileWriter(*std::move(file), std::move(name));
}

StoredFileWriter::StoredFileWriter(std::unique_ptr<WritableFile> file, std::string name) : file_(std::move(file)) {
  stored_.set_name(std::move(name));
}

absl::Status StoredFileWriter::Append(std::string_view bytes) {
  sha_.Update(bytes);
  stored_.set_bytes(stored_.bytes() + bytes.size());
  return file_->Append(bytes);
}

absl::StatusOr<density::v1::StoredFile> StoredFileWriter::Finish() {
  if (absl::Status status = file_->Sync(); !status.ok()) return status;
  if (absl::Status status = file_->Close(); !status.ok()) return status;
  stored_.set_sha256(sha_.HexDigest());
  return std::move(stored_);
}

absl::Status WriteManifest(FileSystem& files, const std::string& folder, const density::v1::ModelManifest& manifest) {
  const absl::StatusOr<std::string> text = FormatManifest(manifest);
  if (!text.ok()) return text.status();
  if (absl::Status status = WriteTextFile(files, folder, kManifestFile, *text); !status.ok()) return status;
  return WriteTextFile(files, folder, kManifestDigestFile, FormatManifestDigest(*text));
}

}  // namespace densityd::registry
