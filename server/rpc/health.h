// grpc.health.v1: the server as a whole under "", and each model under its name.
#pragma once

#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/health_check_service_interface.h"
#include "server/registry/model_manager.h"

namespace densityd::rpc {

/// A model is SERVING while its alias `latest` names a version that is ready. Thread-safe.
class Health {
 public:
  /// Begins to report: `service` belongs to the gRPC server. Models that are loaded already are reported at once.
  void Attach(grpc::HealthCheckServiceInterface* service, const registry::ModelManager* models);

  /// Something about the model's versions or aliases changed. Ignored before Attach.
  void OnModelChanged(const std::string& model);

  /// Whether the server as a whole is SERVING: whoever is connected learns from it that nobody else can connect.
  void SetReachable(bool reachable);

  /// Everything becomes NOT_SERVING and stays so.
  void Stop();

  /// Ends the reports, before the gRPC server goes.
  void Detach();

 private:
  void Report(const std::string& model) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  grpc::HealthCheckServiceInterface* service_ ABSL_GUARDED_BY(mutex_) = nullptr;
  const registry::ModelManager* models_ ABSL_GUARDED_BY(mutex_) = nullptr;
  /// What was told of each model: the service passes repetitions on to those that watch.
  std::map<std::string, bool> told_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::rpc
