// One ModelRegistry.Export call: a version on its way to a caller.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "server/registry/model_manager.h"
#include "server/registry/version_export.h"
#include "server/rpc/control.h"
#include "server/rpc/control_call.h"

namespace densityd::rpc {

/// Reads a piece on the executor, writes it, reads the next: one thing at a time, so that nothing needs a lock, one
/// piece is in memory, and a slow caller slows the disk.
class ExportStream final : public ControlCall {
 public:
  ExportStream(const ControlPosting& posting, registry::ModelManager& models, const ControlEnvironment& environment);

 private:
  void Begin() override;
  void OnRead(bool ok) override;
  void OnWritten(bool ok) override;
  void OnCancelled() override {}  // A write fails then.

  /// Runs one step on the executor; a step ends by writing or by finishing.
  void Step(void (ExportStream::*step)());
  void Open();
  void WritePiece();
  absl::Status TakeRequest();
  void End(const absl::Status& status);

  registry::ModelManager* models_;
  const ControlEnvironment* environment_;
  CallTimer timer_;

  std::string model_;
  std::optional<registry::VersionExport> source_;
};

}  // namespace densityd::rpc
