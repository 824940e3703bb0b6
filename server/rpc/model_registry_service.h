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
  absl::StatusOr<density::v1::ListModelsResponse> DoList(const density::v1::ListModelsRequest& request,
                                                         const Caller& caller);
  absl::StatusOr<density::v1::ModelDetail> DoGet(const density::v1::GetModelRequest& request, const Caller& caller);
  absl::StatusOr<density::v1::PlanDetail> DoGetPlan(const density::v1::GetPlanRequest& request, const Caller& caller);
  absl::StatusOr<density::v1::VersionInfo> DoLoad(const density::v1::LoadModelRequest& request, const Caller& caller);
  absl::StatusOr<density::v1::VersionInfo> DoUnload(const density::v1::UnloadModelRequest& request,
                                                    const Caller& caller);
  absl::StatusOr<density::v1::DeleteModelResponse> DoDelete(const density::v1::DeleteModelRequest& request,
                                                            const Caller& caller);
  absl::StatusOr<density::v1::Aliases> DoSetAlias(const density::v1::SetAliasRequest& request, const Caller& caller);
  absl::StatusOr<density::v1::Aliases> DoDeleteAlias(const density::v1::DeleteAliasRequest& request,
                                                     const Caller& caller);
  absl::StatusOr<density::v1::ReloadFromDiskResponse> DoReloadFromDisk(
      const density::v1::ReloadFromDiskRequest& request, const Caller& caller);

  registry::ModelManager* models_;
  std::atomic<int> imports_{0};
};

}  // namespace densityd::rpc
