// What grpc.health.v1 tells: of the server as a whole under "", and of each model under its name.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/registry/model_manager.h"

namespace densityd::rpc {

/// Numbers of grpc.health.v1.HealthCheckResponse.ServingStatus.
enum class Serving { kServing = 1, kNotServing = 2, kServiceUnknown = 3 };

/// Somebody who follows one service.
class HealthWatcher {
 public:
  virtual ~HealthWatcher() = default;
  /// What is true from now on. Must not block, or call Health.
  virtual void OnServing(Serving serving) = 0;
  /// Nothing more will be told: the server stops.
  virtual void OnEnd() = 0;
};

/// A model is SERVING while its alias `latest` names a version that is ready. Thread-safe.
class Health {
 public:
  /// Begins to report. Models that are loaded already are reported at once.
  void Attach(const registry::ModelManager* models);

  /// Something about the model's versions or aliases changed. Ignored before Attach.
  void OnModelChanged(const std::string& model);

  /// Whether the server as a whole is SERVING: whoever is connected learns from it that nobody else can connect.
  void SetReachable(bool reachable);

  /// Everything becomes NOT_SERVING and stays so.
  void Stop();

  /// Ends the watches, those that begin later too: an open stream would hold up the server's stop.
  void EndWatches();

  /// Ends the reports, before the models go.
  void Detach();

  Serving Check(const std::string& service) const;
  /// Tells `watcher` what is true of `service` now, and each change, until it is gone.
  void Watch(const std::string& service, const std::shared_ptr<HealthWatcher>& watcher);

 private:
  struct Follower {
    std::string service;
    std::weak_ptr<HealthWatcher> watcher;
  };

  Serving Find(const std::string& service) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Report(const std::string& model) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Set(const std::string& service, bool serving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  const registry::ModelManager* models_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, bool> serving_ ABSL_GUARDED_BY(mutex_) = {{"", true}};  ///< what was told last
  std::vector<Follower> followers_ ABSL_GUARDED_BY(mutex_);                     ///< those that are gone among them
  size_t followers_to_sweep_ ABSL_GUARDED_BY(mutex_) = 16;                      ///< at this many the latter are removed
};

}  // namespace densityd::rpc
