// One ModelRegistry.Export call: a version on its way to a caller.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "density/v1/model_registry.pb.h"
#include "grpcpp/support/server_callback.h"
#include "server/registry/model_manager.h"
#include "server/registry/version_export.h"
#include "server/rpc/control.h"

namespace densityd::rpc {

/// Reads a piece on the executor, writes it, reads the next: one thing at a time, so that nothing needs a lock, one
/// piece is in memory, and a slow caller slows the disk.
class ExportStream final : public grpc::ServerWriteReactor<density::v1::ExportModelResponse> {
 public:
  static ExportStream* Begin(registry::ModelManager& models, const ControlEnvironment& environment,
                             grpc::CallbackServerContext* context, const std::string& model);

  ExportStream(registry::ModelManager& models, const ControlEnvironment& environment,
               grpc::CallbackServerContext* context, const std::string& model);

  void OnWriteDone(bool ok) override;
  void OnDone() override;

 private:
  /// Runs ReadPiece on the executor.
  void Step();
  void ReadPiece();
  void End(const absl::Status& status);

  registry::ModelManager* models_;
  const ControlEnvironment* environment_;
  const std::string model_;
  CallTimer timer_;
  std::unique_ptr<ExportStream> self_;  ///< until OnDone

  std::optional<registry::VersionExport> source_;
  density::v1::ExportModelResponse response_;
};

}  // namespace densityd::rpc
