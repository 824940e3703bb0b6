// One Datasets.Upload call: chunks of rows on their way to the disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "server/base/memory_budget.h"
#include "server/rpc/control.h"
#include "server/rpc/control_call.h"
#include "server/rpc/stream_slot.h"
#include "server/training/dataset_store.h"

namespace densityd::rpc {

/// Reads a chunk, stores it on the executor, reads the next: one thing at a time, so that nothing needs a lock and a
/// slow disk slows the sender. The dataset becomes visible only after the whole stream; otherwise nothing remains.
class UploadStream final : public ControlCall {
 public:
  /// `running` counts the uploads of the server: each holds a file open, and a message in memory.
  UploadStream(const ControlPosting& posting, training::DatasetStore* datasets, const ControlEnvironment& environment,
               std::atomic<int>& running);

 private:
  void Begin() override;
  void OnRead(bool ok) override;
  void OnCancelled() override {}  // A read fails then, and the next step sees why.
  void OnFinished(bool ok) override;

  /// Runs one step on the executor; a step ends by reading on or by finishing.
  void Step(void (UploadStream::*step)());
  void StoreChunk();
  void Commit();
  /// Deletes what was stored for a caller who does not know of it.
  void Revoke();
  absl::Status CheckBegin();
  absl::Status Append();
  void End(const absl::Status& status);

  training::DatasetStore* datasets_;
  const ControlEnvironment* environment_;
  std::atomic<int>* running_;
  StreamSlot slot_;
  Reservation memory_;  ///< of the message that came
  CallTimer timer_;

  std::unique_ptr<training::DatasetWriter> writer_;
  uint64_t chunks_ = 0;
  std::string stored_;  ///< the dataset's id, once it is stored
};

}  // namespace densityd::rpc
