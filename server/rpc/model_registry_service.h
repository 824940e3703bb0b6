// density.v1.ModelRegistry: stored versions, aliases, and what is in memory.
#pragma once

#include <atomic>

#include "absl/status/statusor.h"
#include "density/v1/model_registry.grpc.pb.h"
#include "server/registry/model_manager.h"
#include "server/rpc/unary_call.h"

namespace densityd::rpc {

class ModelRegistryService final : public ControlService<density::v1::ModelRegistry::Service> {
 public:
  ModelRegistryService(registry::ModelManager& models, const ControlEnvironment& environment);

 private:
  absl::StatusOr<density::v1::ListModelsResponse> List(const density::v1::ListModelsRequest& request,
                                                       const Caller& caller);
  absl::StatusOr<density::v1::ModelDetail> Get(const density::v1::GetModelRequest& request, const Caller& caller);
  absl::StatusOr<density::v1::PlanDetail> GetPlan(const density::v1::GetPlanRequest& request, const Caller& caller);
  absl::StatusOr<density::v1::VersionInfo> Load(const density::v1::LoadModelRequest& request, const Caller& caller);
  absl::StatusOr<density::v1::VersionInfo> Unload(const density::v1::UnloadModelRequest& request, const Caller& caller);
  absl::StatusOr<density::v1::DeleteModelResponse> Delete(const density::v1::DeleteModelRequest& request,
                                                          const Caller& caller);
  absl::StatusOr<density::v1::Aliases> SetAlias(const density::v1::SetAliasRequest& request, const Caller& caller);
  absl::StatusOr<density::v1::Aliases> DeleteAlias(const density::v1::DeleteAliasRequest& request,
                                                   const Caller& caller);
  absl::StatusOr<density::v1::ReloadFromDiskResponse> ReloadFromDisk(const density::v1::ReloadFromDiskRequest& request,
                                                                     const Caller& caller);

  registry::ModelManager* models_;
  std::atomic<int> imports_{0};
};

}  // namespace densityd::rpc
