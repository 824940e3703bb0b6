#include "server/rpc/datasets_service.h"

#include <utility>

#include "server/rpc/page.h"
#include "server/rpc/upload_stream.h"

namespace densityd::rpc {

using density::v1::Dataset;
using telemetry::RpcMethod;

grpc::ServerReadReactor<density::v1::UploadDatasetRequest>* DatasetsService::Upload(
    grpc::CallbackServerContext* context, Dataset* response) {
  return UploadStream::Begin(*datasets_, *environment_, context, response);
}

grpc::ServerUnaryReactor* DatasetsService::Get(grpc::CallbackServerContext* context,
                                               const density::v1::GetDatasetRequest* request, Dataset* response) {
  return AnswerWith(*environment_, RpcMethod::kDatasetsGet, context, request->id(), response,
                    [this, request] { return datasets_->Get(request->id()); });
}

grpc::ServerUnaryReactor* DatasetsService::List(grpc::CallbackServerContext* context,
                                                const density::v1::ListDatasetsRequest* request,
                                                density::v1::ListDatasetsResponse* response) {
  return AnswerUnary(*environment_, RpcMethod::kDatasetsList, context, "", [this, request, response](CallTimer&) {
    auto datasets = datasets_->List();
    if (!datasets.ok()) return datasets.status();
    auto page = TakePage(*std::move(datasets), request->page_size(), request->page_token(),
                         [](const Dataset& dataset) { return NewestFirstKey(dataset.create_time(), dataset.id()); });
    if (!page.ok()) return page.status();
    for (Dataset& dataset : page->items) *response->add_datasets() = std::move(dataset);
    response->set_next_page_token(page->next_token);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetsService::Delete(grpc::CallbackServerContext* context,
                                                  const density::v1::DeleteDatasetRequest* request,
                                                  density::v1::DeleteDatasetResponse* /*response*/) {
  return AnswerUnary(*environment_, RpcMethod::kDatasetsDelete, context, request->id(),
                     [this, request](CallTimer&) { return trainings_->DeleteDataset(request->id()); });
}

}  // namespace densityd::rpc
