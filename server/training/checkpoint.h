// Checkpoints: what a training goes on from when its process died.
//
//   <training folder>/
//     checkpoint-<step>   safetensors (docs/model-format.md): the loop's tensors and `state`, the bytes of a
//                         CheckpointState
//     checkpoints         record file (record_file.h) with one CheckpointIndex: sizes and SHA-256 of the others
//
// A checkpoint is written and synced under a name of its own, and counts from the moment at which the index that names
// it was renamed into place. The two newest are kept, so that one remains when the other is damaged.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/base/file_system.h"
#include "server/registry/tensor.h"
#include "server/training/training_record.pb.h"

namespace densityd::training {

/// A training loop between two steps.
struct Checkpoint {
  CheckpointState state;
  std::vector<registry::Tensor> tensors;
};

/// The checkpoints in the folder of one training. One process writes them. Not thread-safe.
class CheckpointStore {
 public:
  /// Goes up with every change of what a training goes on to do from the same checkpoint: its split, the order of its
  /// rows, its arithmetic. From one of another format nothing goes on, since the rows held out would not be the same.
  static constexpr uint32_t kFormat = 1;

  CheckpointStore(FileSystem& files, std::string folder) : files_(&files), folder_(std::move(folder)) {}

  /// Makes `checkpoint` durable; then removes all but the two newest. After an error the ones before still count.
  absl::Status Write(Checkpoint checkpoint);

  /// The newest one that is whole; nothing where there is none, or where all are damaged or of another format, which is
  /// logged.
  absl::StatusOr<std::optional<Checkpoint>> ReadNewest() const;

  /// Removes all of them: the training has ended.
  absl::Status RemoveAll();

 private:
  absl::StatusOr<CheckpointIndex> ReadIndex() const;
  absl::StatusOr<Checkpoint> Read(const StoredCheckpoint& stored) const;
  absl::StatusOr<density::v1::StoredFile> WriteFile(const std::string& name,
                                                    absl::Span<const registry::Tensor> tensors);
  /// Removes every file of a checkpoint that `index` does not name.
  absl::Status RemoveOthers(const CheckpointIndex& index);

  FileSystem* files_;
  std::string folder_;
};

}  // namespace densityd::training
