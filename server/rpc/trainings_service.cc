#include "server/rpc/trainings_service.h"

#include <memory>
#include <utility>
#include <vector>

#include "server/registry/names.h"
#include "server/rpc/page.h"

namespace densityd::rpc {

using density::v1::Training;
using telemetry::RpcMethod;

TrainingsService::TrainingsService(training::TrainingManager* trainings, const ControlEnvironment& environment)
    : ControlService(environment), trainings_(trainings) {
  Serve(RpcMethod::kTrainingsGet, &TrainingsService::DoGet);
  Serve(RpcMethod::kTrainingsList, &TrainingsService::DoList);
  Serve(RpcMethod::kTrainingsCancel, &TrainingsService::DoCancel);
  AddCalls(RpcMethod::kTrainingsWatch, [this](const ControlPosting& posting) {
    return std::make_shared<WatchStream>(posting, trainings_, this->environment(), watches_);
  });
}

absl::StatusOr<Training> TrainingsService::DoGet(const density::v1::GetTrainingRequest& request, const Caller& caller) {
  return GetOwn(caller, RpcMethod::kTrainingsGet, request.id());
}

absl::StatusOr<density::v1::ListTrainingsResponse> TrainingsService::DoList(
    const density::v1::ListTrainingsRequest& request, const Caller& caller) {
  if (!request.model().empty()) {
    if (auto status = registry::CheckModelName("model", request.model()); !status.ok()) return status;
  }
  std::vector<Training> trainings = trainings_->List(request.model());
  std::erase_if(trainings, [&](const Training& training) { return !caller.MayTouch(training.model()); });
  auto page = TakePage(std::move(trainings), request.page_size(), request.page_token(),
                       [](const Training& training) { return NewestFirstKey(training.create_time(), training.id()); });
  if (!page.ok()) return page.status();
  density::v1::ListTrainingsResponse response;
  for (Training& training : page->items) *response.add_trainings() = Shown(std::move(training));
  response.set_next_page_token(page->next_token);
  return response;
}

absl::StatusOr<Training> TrainingsService::DoCancel(const density::v1::CancelTrainingRequest& request,
                                                    const Caller& caller) {
  auto training = GetOwn(caller, RpcMethod::kTrainingsCancel, request.id());
  if (training.ok()) training = trainings_->Cancel(request.id());
  if (!training.ok()) return training;
  return Shown(*std::move(training));
}

absl::StatusOr<Training> TrainingsService::GetOwn(const Caller& caller, RpcMethod method, const std::string& id) const {
  absl::StatusOr<Training> training = trainings_->Get(id);
  if (!training.ok()) return training;
  if (auto status = Authorizer::CheckModel(caller, method, training->model()); !status.ok()) return status;
  return Shown(*std::move(training));
}

Training TrainingsService::Shown(Training training) const {
  training.set_error(environment().hidden_root.In(training.error()));
  return training;
}

}  // namespace densityd::rpc
