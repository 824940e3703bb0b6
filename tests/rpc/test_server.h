// A whole server on a free port, with a real store in a folder of its own; only plans and training processes are fakes.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "density/v1/datasets.grpc.pb.h"
#include "density/v1/density_estimator.grpc.pb.h"
#include "density/v1/model_registry.grpc.pb.h"
#include "density/v1/training.grpc.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "server/base/clock.h"
#include "server/registry/model_manager.h"
#include "server/registry/model_store.h"
#include "server/rpc/server.h"
#include "server/telemetry/metrics.h"
#include "server/training/dataset_store.h"
#include "server/training/training_manager.h"
#include "tests/base/temp_folder.h"
#include "tests/rpc/fake_plan.h"

namespace densityd::rpc {

class TestServer {
 public:
  struct Settings {
    int workers = 1;
    RowLimits limits = {};
    size_t max_queued_rows = 4 << 20;
    size_t max_queued_bytes = size_t{2} << 30;
    serving::QuotaLimits client_limits = {};
    uint64_t max_dataset_bytes = 1 << 20;
    int max_uploads = 16;
    const Authorizer* authorizer = nullptr;
    AuditLog* audit_log = nullptr;
    const Clock* clock = &Clock::Real();
    absl::Duration message_patience = absl::ZeroDuration();
    std::string training_process = "#!/bin/sh\nexit 3\n";  ///< a script in place of the training process
  };

  TestServer() : TestServer(Settings{}) {}
  explicit TestServer(const Settings& settings);
  ~TestServer();

  /// Publishes a version of a model with `features` columns and loads it. Returns its number. `calibrated`: it says
  /// what data and log p are usual.
  uint64_t Publish(const std::string& name, size_t features, size_t context = 0, bool calibrated = true,
                   const std::function<void(density::v1::FlowSpec&)>& change = nullptr);

  /// A connection of its own.
  std::shared_ptr<grpc::Channel> Connect() const;

  /// Returns when the server has read everything that was sent on the shared channel before.
  void Sync();

  void BeginLameDuck() { server_->BeginLameDuck(); }
  void Stop(absl::Duration timeout) { server_->Stop(timeout); }

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  density::v1::DensityEstimator::Stub& estimator() { return *estimator_; }
  density::v1::Trainings::Stub& trainings() { return *trainings_stub_; }
  density::v1::Datasets::Stub& datasets() { return *datasets_stub_; }
  density::v1::ModelRegistry::Stub& registry() { return *registry_stub_; }

  PlanProbe& probe() { return *probe_; }
  telemetry::Metrics& metrics() { return *metrics_; }
  int port() const { return server_->port(); }
  const std::string& root() const { return folder_.path(); }
  const registry::ModelManager& models() const { return *models_; }
  const RowLimits& limits() const { return settings_.limits; }

 private:
  const Settings settings_;
  densityd::testing::TempFolder folder_;
  densityd::testing::TempFolder scripts_;
  const std::shared_ptr<PlanProbe> probe_ = std::make_shared<PlanProbe>();
  std::unique_ptr<telemetry::Metrics> metrics_;
  telemetry::AccessLog access_log_;
  Health health_;
  std::unique_ptr<registry::ModelStore> store_;
  std::unique_ptr<registry::ModelManager> models_;
  std::unique_ptr<training::DatasetStore> datasets_;
  std::unique_ptr<training::TrainingManager> trainings_;
  std::unique_ptr<Server> server_;

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<density::v1::DensityEstimator::Stub> estimator_;
  std::unique_ptr<density::v1::Trainings::Stub> trainings_stub_;
  std::unique_ptr<density::v1::Datasets::Stub> datasets_stub_;
  std::unique_ptr<density::v1::ModelRegistry::Stub> registry_stub_;
};

/// A context that fails the test's call after a while instead of hanging.
std::unique_ptr<grpc::ClientContext> Context();

/// A matrix of `values`, row after row.
density::v1::Matrix Rows(size_t cols, const std::vector<float>& values);

}  // namespace densityd::rpc
