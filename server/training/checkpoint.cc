#include "server/training/checkpoint.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/sha256.h"
#include "server/base/strings.h"
#include "server/registry/safetensors.h"
#include "server/training/record_file.h"

namespace densityd::training {
namespace {

using density::v1::StoredFile;
using registry::Tensor;

constexpr char kIndexFile[] = "/checkpoints";
constexpr char kFilePrefix[] = "checkpoint-";
/// An index whose writer died before the rename.
constexpr char kUnfinishedIndexPrefix[] = "checkpoints.tmp-";
constexpr char kStateTensor[] = "state";
constexpr int kKept = 2;

Tensor StateTensor(const CheckpointState& state) {
  Tensor tensor;
  tensor.name = kStateTensor;
  tensor.dtype = registry::DType::kU8;
  tensor.data = state.SerializeAsString();
  tensor.shape = {static_cast<int64_t>(tensor.data.size())};
  return tensor;
}

}  // namespace

absl::Status CheckpointStore::Write(Checkpoint checkpoint) {
  absl::StatusOr<CheckpointIndex> index = ReadIndex();
  // Of a damaged index nothing can be kept.
  if (absl::IsDataLoss(index.status())) index = CheckpointIndex();
  if (!index.ok()) return index.status();
  if (index->format() != kFormat) index->clear_checkpoints();
  index->set_format(kFormat);
  const uint64_t step = checkpoint.state.step();
  // A step that is repeated after a resumption must not overwrite the file that counts.
  const std::string name = absl::StrCat(kFilePrefix, step, "-", UniqueSuffix());
  checkpoint.tensors.push_back(StateTensor(checkpoint.state));
  absl::StatusOr<StoredFile> file = WriteFile(name, checkpoint.tensors);
  absl::Status status = file.status();
  if (status.ok()) {
    auto& all = *index->mutable_checkpoints();
    if (all.size() >= kKept) all.DeleteSubrange(0, all.size() - kKept + 1);
    StoredCheckpoint* stored = all.Add();
    *stored->mutable_file() = *std::move(file);
    stored->set_step(step);
    status = WriteRecordFile(*files_, folder_ + kIndexFile, index->SerializeAsString());
  }
  if (!status.ok()) {
    files_->Remove(absl::StrCat(folder_, "/", name)).IgnoreError();
    return status;
  }
  return RemoveOthers(*index);
}

absl::StatusOr<std::optional<Checkpoint>> CheckpointStore::ReadNewest() const {
  absl::StatusOr<CheckpointIndex> index = ReadIndex();
  if (absl::IsDataLoss(index.status())) {
    Log(LogLevel::kWarning, "the checkpoints of a training are damaged; it starts anew",
        {{"error", ToStd(index.status().message())}});
    return std::nullopt;
  }
  if (!index.ok()) return index.status();
  if (index->checkpoints_size() > 0 && index->format() != kFormat) {
    Log(LogLevel::kWarning, "the checkpoints of a training are of another version of densityd; it starts anew",
        {{"format", index->format()}, {"expected", kFormat}});
    return std::nullopt;
  }
  for (auto stored = index->checkpoints().rbegin(); stored != index->checkpoints().rend(); ++stored) {
    absl::StatusOr<Checkpoint> checkpoint = Read(*stored);
    if (checkpoint.ok()) return std::optional<Checkpoint>(*std::move(checkpoint));
    if (!absl::IsDataLoss(checkpoint.status())) return checkpoint.status();
    Log(LogLevel::kWarning, "a checkpoint is damaged; the training goes on from an older one or starts anew",
        {{"step", stored->step()}, {"error", ToStd(checkpoint.status().message())}});
  }
  return std::nullopt;
}

absl::Status CheckpointStore::RemoveAll() {
  absl::Status removed = files_->Remove(folder_ + kIndexFile);
  if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
  return RemoveOthers(CheckpointIndex());
}

absl::StatusOr<CheckpointIndex> CheckpointStore::ReadIndex() const {
  const std::string path = folder_ + kIndexFile;
  absl::StatusOr<std::string> record = ReadRecordFile(*files_, path);
  if (absl::IsNotFound(record.status())) return CheckpointIndex();
  if (!record.ok()) return record.status();
  CheckpointIndex index;
  if (!index.ParseFromString(*record)) return DataLoss(path, "index", "is no index of checkpoints");
  return index;
}

absl::StatusOr<Checkpoint> CheckpointStore::Read(const StoredCheckpoint& stored) const {
  const StoredFile& file = stored.file();
  if (!absl::StartsWith(file.name(), kFilePrefix) || absl::StrContains(file.name(), "/")) {
    return DataLoss(folder_ + kIndexFile, "index", "names a file that is no checkpoint");
  }
  const std::string path = absl::StrCat(folder_, "/", file.name());
  absl::StatusOr<std::string> bytes = files_->Read(path, file.bytes());
  if (absl::IsNotFound(bytes.status())) return DataLoss(path, "", "is missing");
  if (absl::IsResourceExhausted(bytes.status())) return DataLoss(path, "", "is longer than it was written");
  if (!bytes.ok()) return bytes.status();
  if (bytes->size() != file.bytes() || Sha256Hex(*bytes) != file.sha256()) {
    return DataLoss(path, "", "does not have the size and SHA-256 that it was written with");
  }
  absl::StatusOr<std::vector<Tensor>> tensors = registry::ParseSafetensors(*bytes, path);
  if (!tensors.ok()) return tensors.status();
  const auto state =
      std::find_if(tensors->begin(), tensors->end(), [](const Tensor& tensor) { return tensor.name == kStateTensor; });
  Checkpoint checkpoint;
  if (state == tensors->end() || !checkpoint.state.ParseFromString(state->data)) {
    return DataLoss(path, kStateTensor, "is no state of a training");
  }
  tensors->erase(state);
  checkpoint.tensors = *std::move(tensors);
  return checkpoint;
}

absl::StatusOr<StoredFile> CheckpointStore::WriteFile(const std::string& name, absl::Span<const Tensor> tensors) {
  const absl::StatusOr<registry::SafetensorsLayout> layout = registry::LayOutSafetensors(tensors);
  if (!layout.ok()) return layout.status();
  absl::StatusOr<std::unique_ptr<WritableFile>> writer = files_->Create(absl::StrCat(folder_, "/", name));
  if (!writer.ok()) return writer.status();
  StoredFile file;
  file.set_name(name);
  Sha256 hash;
  const auto append = [&](std::string_view bytes) {
    hash.Update(bytes);
    file.set_bytes(file.bytes() + bytes.size());
    return (*writer)->Append(bytes);
  };
  if (absl::Status status = append(layout->header); !status.ok()) return status;
  for (const Tensor* tensor : layout->tensors) {
    if (absl::Status status = append(tensor->data); !status.ok()) return status;
  }
  if (absl::Status status = (*writer)->Sync(); !status.ok()) return status;
  if (absl::Status status = (*writer)->Close(); !status.ok()) return status;
  file.set_sha256(hash.HexDigest());
  return file;
}

absl::Status CheckpointStore::RemoveOthers(const CheckpointIndex& index) {
  const absl::StatusOr<std::vector<std::string>> names = files_->List(folder_);
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const bool counts = std::any_of(index.checkpoints().begin(), index.checkpoints().end(),
                                    [&](const StoredCheckpoint& stored) { return stored.file().name() == name; });
    if (counts) continue;
    if (!absl::StartsWith(name, kFilePrefix) && !absl::StartsWith(name, kUnfinishedIndexPrefix)) continue;
    if (absl::Status status = files_->Remove(absl::StrCat(folder_, "/", name)); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace densityd::training
