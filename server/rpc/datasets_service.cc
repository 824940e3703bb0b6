#include "server/rpc/datasets_service.h"

#include <memory>
#include <utility>

#include "server/registry/names.h"
#include "server/rpc/page.h"
#include "server/rpc/upload_stream.h"

namespace densityd::rpc {

using density::v1::Dataset;
using telemetry::RpcMethod;

DatasetsService::DatasetsService(training::DatasetStore* datasets, training::TrainingManager* trainings,
                                 const ControlEnvironment& environment)
    : ControlService(environment), datasets_(datasets), trainings_(trainings) {
  Serve(RpcMethod::kDatasetsGet, &DatasetsService::DoGet);
  Serve(RpcMethod::kDatasetsList, &DatasetsService::DoList);
  Serve(RpcMethod::kDatasetsDelete, &DatasetsService::DoDelete);
  AddCalls(RpcMethod::kDatasetsUpload, [this](const ControlPosting& posting) {
    return std::make_shared<UploadStream>(posting, datasets_, this->environment(), uploads_);
  });
}

absl::StatusOr<Dataset> DatasetsService::DoGet(const density::v1::GetDatasetRequest& request,
                                               const Caller& /*caller*/) {
  // The store knows it by the name of Train's field.
  if (auto status = registry::CheckId("id", request.id()); !status.ok()) return status;
  return datasets_->Get(request.id());
}

absl::StatusOr<density::v1::ListDatasetsResponse> DatasetsService::DoList(
    const density::v1::ListDatasetsRequest& request, const Caller& /*caller*/) {
  auto datasets = datasets_->List();
  if (!datasets.ok()) return datasets.status();
  auto page = TakePage(*std::move(datasets), request.page_size(), request.page_token(),
                       [](const Dataset& dataset) { return NewestFirstKey(dataset.create_time(), dataset.id()); });
  if (!page.ok()) return page.status();
  density::v1::ListDatasetsResponse response;
  for (Dataset& dataset : page->items) *response.add_datasets() = std::move(dataset);
  response.set_next_page_token(page->next_token);
  return response;
}

absl::StatusOr<density::v1::DeleteDatasetResponse> DatasetsService::DoDelete(
    const density::v1::DeleteDatasetRequest& request, const Caller& /*caller*/) {
  if (auto status = trainings_->DeleteDataset(request.id()); !status.ok()) return status;
  return density::v1::DeleteDatasetResponse();
}

}  // namespace densityd::rpc
