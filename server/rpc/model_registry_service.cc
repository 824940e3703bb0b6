#include "server/rpc/model_registry_service.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/export_stream.h"
#include "server/rpc/import_stream.h"
#include "server/rpc/matrix.h"
#include "server/rpc/page.h"
#include "server/rpc/plan_detail.h"
#include "server/rpc/served_model.h"

namespace densityd::rpc {

using density::v1::ModelInfo;
using telemetry::RpcMethod;

grpc::ServerUnaryReactor* ModelRegistryService::List(grpc::CallbackServerContext* context,
                                                     const density::v1::ListModelsRequest* request,
                                                     density::v1::ListModelsResponse* response) {
  return AnswerUnary(*environment_, RpcMethod::kModelsList, context, "", [this, request, response](CallTimer& timer) {
    auto models = models_->List();
    if (!models.ok()) return models.status();
    std::erase_if(*models, [&](const ModelInfo& model) { return !timer.caller().MayTouch(model.name()); });
    auto page = TakePage(*std::move(models), request->page_size(), request->page_token(),
                         [](const ModelInfo& model) { return model.name(); });
    if (!page.ok()) return page.status();
    for (ModelInfo& model : page->items) *response->add_models() = std::move(model);
    response->set_next_page_token(page->next_token);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelRegistryService::Get(grpc::CallbackServerContext* context,
                                                    const density::v1::GetModelRequest* request,
                                                    density::v1::ModelDetail* response) {
  return AnswerWith(*environment_, RpcMethod::kModelsGet, context, request->model(), response,
                    [this, request] { return models_->Get(request->model()); });
}

grpc::ServerUnaryReactor* ModelRegistryService::GetPlan(grpc::CallbackServerContext* context,
                                                        const density::v1::GetPlanRequest* request,
                                                        density::v1::PlanDetail* response) {
  return AnswerWith(*environment_, RpcMethod::kModelsGetPlan, context, request->model(), response,
                    [this, request] { return PlanOf(*request); });
}

absl::StatusOr<density::v1::PlanDetail> ModelRegistryService::PlanOf(const density::v1::GetPlanRequest& request) const {
  const absl::StatusOr<engine::Op> op = ResolveOp("op", request.op());
  if (!op.ok()) return op.status();
  const absl::StatusOr<NumberType> precision = ResolvePrecision("precision", request.precision());
  if (!precision.ok()) return precision.status();
  const absl::StatusOr<registry::ModelHandle> handle = models_->Acquire(request.model());
  if (!handle.ok()) return handle.status();
  // Every servable of this server comes from MakeLoader.
  const auto& model = static_cast<const ServedModel&>(*handle->servable);
  const absl::StatusOr<const engine::Plan*> plan = model.MadePlan(*precision);
  if (!plan.ok()) return plan.status();
  density::v1::PlanDetail detail = DescribePlan(**plan, *op);
  detail.set_name(handle->name);
  detail.set_version(handle->version);
  return detail;
}

grpc::ServerUnaryReactor* ModelRegistryService::Load(grpc::CallbackServerContext* context,
                                                     const density::v1::LoadModelRequest* request,
                                                     density::v1::VersionInfo* response) {
  return AnswerWith(*environment_, RpcMethod::kModelsLoad, context, request->model(), response,
                    [this, request] { return models_->Load(request->model()); });
}

grpc::ServerUnaryReactor* ModelRegistryService::Unload(grpc::CallbackServerContext* context,
                                                       const density::v1::UnloadModelRequest* request,
                                                       density::v1::VersionInfo* response) {
  return AnswerWith(*environment_, RpcMethod::kModelsUnload, context, request->model(), response,
                    [this, request] { return models_->Unload(request->model()); });
}

grpc::ServerUnaryReactor* ModelRegistryService::Delete(grpc::CallbackServerContext* context,
                                                       const density::v1::DeleteModelRequest* request,
                                                       density::v1::DeleteModelResponse* /*response*/) {
  return AnswerUnary(*environment_, RpcMethod::kModelsDelete, context,
                     absl::StrCat(request->name(), "@", request->version()),
                     [this, request](CallTimer&) { return models_->Delete(request->name(), request->version()); });
}

grpc::ServerUnaryReactor* ModelRegistryService::SetAlias(grpc::CallbackServerContext* context,
                                                         const density::v1::SetAliasRequest* request,
                                                         density::v1::Aliases* response) {
  return AnswerWith(*environment_, RpcMethod::kModelsSetAlias, context,
                    absl::StrCat(request->name(), "@", request->alias(), " -> ", request->version()), response,
                    [this, request] { return models_->SetAlias(*request); });
}

grpc::ServerUnaryReactor* ModelRegistryService::DeleteAlias(grpc::CallbackServerContext* context,
                                                            const density::v1::DeleteAliasRequest* request,
                                                            density::v1::Aliases* response) {
  return AnswerWith(*environment_, RpcMethod::kModelsDeleteAlias, context,
                    absl::StrCat(request->name(), "@", request->alias()), response,
                    [this, request] { return models_->DeleteAlias(*request); });
}

grpc::ServerUnaryReactor* ModelRegistryService::ReloadFromDisk(grpc::CallbackServerContext* context,
                                                               const density::v1::ReloadFromDiskRequest* request,
                                                               density::v1::ReloadFromDiskResponse* response) {
  return AnswerWith(*environment_, RpcMethod::kModelsReload, context, request->model(), response,
                    [this, request] { return models_->ReloadFromDisk(request->model(), /*retry_failed=*/true); });
}

grpc::ServerWriteReactor<density::v1::ExportModelResponse>* ModelRegistryService::Export(
    grpc::CallbackServerContext* context, const density::v1::ExportModelRequest* request) {
  return ExportStream::Begin(*models_, *environment_, context, request->model());
}

grpc::ServerReadReactor<density::v1::ImportModelRequest>* ModelRegistryService::Import(
    grpc::CallbackServerContext* context, density::v1::VersionInfo* response) {
  return ImportStream::Begin(*models_, *environment_, imports_, context, response);
}

}  // namespace densityd::rpc
