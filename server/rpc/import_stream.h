// One ModelRegistry.Import call: an archive on its way into the store.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/model_registry.pb.h"
#include "server/base/memory_budget.h"
#include "server/registry/model_manager.h"
#include "server/registry/version_import.h"
#include "server/rpc/control.h"
#include "server/rpc/control_call.h"
#include "server/rpc/stream_slot.h"

namespace densityd::rpc {

/// Reads a chunk, stores it on the executor, reads the next, as UploadStream does. The version becomes visible only
/// after the whole archive was found to be right; otherwise nothing remains.
class ImportStream final : public ControlCall {
 public:
  /// At the same time.
  static constexpr int kMostRunning = 4;

  /// `running` counts the imports of the server: each may hold a manifest in memory, so that they are few.
  ImportStream(const ControlPosting& posting, registry::ModelManager& models, const ControlEnvironment& environment,
               std::atomic<int>& running);

 private:
  void Begin() override;
  void OnRead(bool ok) override;
  void OnCancelled() override {}  // A read fails then, and the next step sees why.

  /// Runs one step on the executor; a step ends by reading on or by finishing.
  void Step(void (ImportStream::*step)(), Executor::Kind kind);
  void StoreChunk();
  void Commit();
  absl::Status CheckBegin();
  absl::Status Append();
  absl::Status CheckName();
  absl::StatusOr<density::v1::VersionInfo> Publish();
  void End(const absl::Status& status);

  registry::ModelManager* models_;
  const ControlEnvironment* environment_;
  std::atomic<int>* running_;
  StreamSlot slot_;
  Reservation memory_;  ///< of the message that came
  CallTimer timer_;

  std::unique_ptr<registry::VersionImport> import_;
  std::string name_;      ///< of the model; the archive's where the caller gave none
  bool checked_ = false;  ///< the caller may publish under that name
  uint64_t chunks_ = 0;
};

}  // namespace densityd::rpc
