#include "server/rpc/model_registry_service.h"

#include <memory>
#include <utility>
#include <vector>

#include "server/rpc/export_stream.h"
#include "server/rpc/import_stream.h"
#include "server/rpc/matrix.h"
#include "server/rpc/page.h"
#include "server/rpc/plan_detail.h"
#include "server/rpc/served_model.h"

namespace densityd::rpc {

using density::v1::ModelInfo;
using telemetry::RpcMethod;

ModelRegistryService::ModelRegistryService(registry::ModelManager& models, const ControlEnvironment& environment)
    : ControlService(environment), models_(&models) {
  Serve(RpcMethod::kModelsList, &ModelRegistryService::DoList);
  Serve(RpcMethod::kModelsGet, &ModelRegistryService::DoGet);
  Serve(RpcMethod::kModelsGetPlan, &ModelRegistryService::DoGetPlan);
  Serve(RpcMethod::kModelsLoad, &ModelRegistryService::DoLoad, Executor::Kind::kLong);
  Serve(RpcMethod::kModelsUnload, &ModelRegistryService::DoUnload, Executor::Kind::kLong);
  Serve(RpcMethod::kModelsDelete, &ModelRegistryService::DoDelete, Executor::Kind::kLong);
  Serve(RpcMethod::kModelsSetAlias, &ModelRegistryService::DoSetAlias, Executor::Kind::kLong);
  Serve(RpcMethod::kModelsDeleteAlias, &ModelRegistryService::DoDeleteAlias, Executor::Kind::kLong);
  Serve(RpcMethod::kModelsReload, &ModelRegistryService::DoReloadFromDisk, Executor::Kind::kLong);
  AddCalls(RpcMethod::kModelsExport, [this](const ControlPosting& posting) {
    return std::make_shared<ExportStream>(posting, *models_, this->environment());
  });
  AddCalls(RpcMethod::kModelsImport, [this](const ControlPosting& posting) {
    return std::make_shared<ImportStream>(posting, *models_, this->environment(), imports_);
  });
}

absl::StatusOr<density::v1::ListModelsResponse> ModelRegistryService::DoList(
    const density::v1::ListModelsRequest& request, const Caller& caller) {
  auto models = models_->List();
  if (!models.ok()) return models.status();
  std::erase_if(*models, [&](const ModelInfo& model) { return !caller.MayTouch(model.name()); });
  auto page = TakePage(*std::move(models), request.page_size(), request.page_token(),
                       [](const ModelInfo& model) { return model.name(); });
  if (!page.ok()) return page.status();
  density::v1::ListModelsResponse response;
  for (ModelInfo& model : page->items) *response.add_models() = std::move(model);
  response.set_next_page_token(page->next_token);
  return response;
}

absl::StatusOr<density::v1::ModelDetail> ModelRegistryService::DoGet(const density::v1::GetModelRequest& request,
                                                                     const Caller& /*caller*/) {
  return models_->Get(request.model());
}

absl::StatusOr<density::v1::PlanDetail> ModelRegistryService::DoGetPlan(const density::v1::GetPlanRequest& request,
                                                                        const Caller& /*caller*/) {
  const absl::StatusOr<engine::Op> op = ResolveOp("op", request.op());
  if (!op.ok()) return op.status();
  const absl::StatusOr<NumberType> precision = ResolvePrecision("precision", request.precision());
  if (!precision.ok()) return precision.status();
  const absl::StatusOr<registry::ModelHandle> handle = models_->Acquire(request.model());
  if (!handle.ok()) return handle.status();
  // Every servable of this server comes from MakeLoader.
  const auto& model = static_cast<const ServedModel&>(*handle->servable);
  const absl::StatusOr<const engine::Plan*> plan = model.MadePlan(*op, *precision);
  if (!plan.ok()) return plan.status();
  density::v1::PlanDetail detail = DescribePlan(**plan, *op);
  detail.set_name(handle->name);
  detail.set_version(handle->version);
  return detail;
}

absl::StatusOr<density::v1::VersionInfo> ModelRegistryService::DoLoad(const density::v1::LoadModelRequest& request,
                                                                      const Caller& /*caller*/) {
  return models_->Load(request.model());
}

absl::StatusOr<density::v1::VersionInfo> ModelRegistryService::DoUnload(const density::v1::UnloadModelRequest& request,
                                                                        const Caller& /*caller*/) {
  return models_->Unload(request.model());
}

absl::StatusOr<density::v1::DeleteModelResponse> ModelRegistryService::DoDelete(
    const density::v1::DeleteModelRequest& request, const Caller& /*caller*/) {
  if (auto status = models_->Delete(request.name(), request.version()); !status.ok()) return status;
  return density::v1::DeleteModelResponse();
}

absl::StatusOr<density::v1::Aliases> ModelRegistryService::DoSetAlias(const density::v1::SetAliasRequest& request,
                                                                      const Caller& /*caller*/) {
  return models_->SetAlias(request);
}

absl::StatusOr<density::v1::Aliases> ModelRegistryService::DoDeleteAlias(const density::v1::DeleteAliasRequest& request,
                                                                         const Caller& /*caller*/) {
  return models_->DeleteAlias(request);
}

absl::StatusOr<density::v1::ReloadFromDiskResponse> ModelRegistryService::DoReloadFromDisk(
    const density::v1::ReloadFromDiskRequest& request, const Caller& /*caller*/) {
  return models_->ReloadFromDisk(request.model(), /*retry_failed=*/true);
}

}  // namespace densityd::rpc
