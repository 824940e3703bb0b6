// density.v1.ModelRegistry: stored versions, aliases, and what is in memory.
#pragma once

#include <atomic>

#include "density/v1/model_registry.grpc.pb.h"
#include "server/registry/model_manager.h"
#include "server/rpc/control.h"

namespace densityd::rpc {

class ModelRegistryService final : public density::v1::ModelRegistry::CallbackService {
 public:
  ModelRegistryService(registry::ModelManager& models, const ControlEnvironment& environment)
      : models_(&models), environment_(&environment) {}

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context, const density::v1::ListModelsRequest* request,
                                 density::v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const density::v1::GetModelRequest* request,
                                density::v1::ModelDetail* response) override;
  grpc::ServerUnaryReactor* GetPlan(grpc::CallbackServerContext* context, const density::v1::GetPlanRequest* request,
                                    density::v1::PlanDetail* response) override;
  grpc::ServerUnaryReactor* Load(grpc::CallbackServerContext* context, const density::v1::LoadModelRequest* request,
                                 density::v1::VersionInfo* response) override;
  grpc::ServerUnaryReactor* Unload(grpc::CallbackServerContext* context, const density::v1::UnloadModelRequest* request,
                                   density::v1::VersionInfo* response) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context, const density::v1::DeleteModelRequest* request,
                                   density::v1::DeleteModelResponse* response) override;
  grpc::ServerUnaryReactor* SetAlias(grpc::CallbackServerContext* context, const density::v1::SetAliasRequest* request,
                                     density::v1::Aliases* response) override;
  grpc::ServerUnaryReactor* DeleteAlias(grpc::CallbackServerContext* context,
                                        const density::v1::DeleteAliasRequest* request,
                                        density::v1::Aliases* response) override;

  grpc::ServerUnaryReactor* ReloadFromDisk(grpc::CallbackServerContext* context,
                                           const density::v1::ReloadFromDiskRequest* request,
                                           density::v1::ReloadFromDiskResponse* response) override;
  grpc::ServerWriteReactor<density::v1::ExportModelResponse>* Export(
      grpc::CallbackServerContext* context, const density::v1::ExportModelRequest* request) override;
  grpc::ServerReadReactor<density::v1::ImportModelRequest>* Import(grpc::CallbackServerContext* context,
                                                                   density::v1::VersionInfo* response) override;

 private:
  absl::StatusOr<density::v1::PlanDetail> PlanOf(const density::v1::GetPlanRequest& request) const;

  registry::ModelManager* models_;
  const ControlEnvironment* environment_;
  std::atomic<int> imports_{0};
};

}  // namespace densityd::rpc
