#include "server/rpc/trainings_service.h"

#include <utility>

#include "server/registry/names.h"
#include "server/rpc/page.h"

namespace densityd::rpc {

using density::v1::Training;
using telemetry::RpcMethod;

namespace {

absl::Status Stopping() { return absl::UnavailableError("the server is stopping; watch again where it comes back"); }

}  // namespace

grpc::ServerUnaryReactor* TrainingsService::Get(grpc::CallbackServerContext* context,
                                                const density::v1::GetTrainingRequest* request, Training* response) {
  return AnswerWith(
      *environment_, RpcMethod::kTrainingsGet, context, request->id(), response,
      [this, request](const Caller& caller) { return GetOwn(caller, RpcMethod::kTrainingsGet, request->id()); });
}

grpc::ServerUnaryReactor* TrainingsService::List(grpc::CallbackServerContext* context,
                                                 const density::v1::ListTrainingsRequest* request,
                                                 density::v1::ListTrainingsResponse* response) {
  return AnswerUnary(
      *environment_, RpcMethod::kTrainingsList, context, request->model(), [this, request, response](CallTimer& timer) {
        if (!request->model().empty()) {
          if (auto status = registry::CheckModelName("model", request->model()); !status.ok()) return status;
        }
        std::vector<Training> trainings = trainings_->List(request->model());
        std::erase_if(trainings, [&](const Training& training) { return !timer.caller().MayTouch(training.model()); });
        auto page =
            TakePage(std::move(trainings), request->page_size(), request->page_token(),
                     [](const Training& training) { return NewestFirstKey(training.create_time(), training.id()); });
        if (!page.ok()) return page.status();
        for (Training& training : page->items) *response->add_trainings() = Shown(std::move(training));
        response->set_next_page_token(page->next_token);
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<Training>* TrainingsService::Watch(grpc::CallbackServerContext* context,
                                                            const density::v1::WatchTrainingRequest* request) {
  const std::shared_ptr<WatchStream> stream = WatchStream::Begin(*trainings_, *environment_, context, *request);
  absl::MutexLock lock(&mutex_);
  if (stopping_) {
    stream->End(Stopping());
  } else {
    std::erase_if(watches_, [](const auto& watch) { return watch.expired(); });
    watches_.push_back(stream);
  }
  return stream.get();
}

grpc::ServerUnaryReactor* TrainingsService::Cancel(grpc::CallbackServerContext* context,
                                                   const density::v1::CancelTrainingRequest* request,
                                                   Training* response) {
  return AnswerWith(*environment_, RpcMethod::kTrainingsCancel, context, request->id(), response,
                    [this, request](const Caller& caller) -> absl::StatusOr<Training> {
                      auto training = GetOwn(caller, RpcMethod::kTrainingsCancel, request->id());
                      if (training.ok()) training = trainings_->Cancel(request->id());
                      if (!training.ok()) return training;
                      return Shown(*std::move(training));
                    });
}

absl::StatusOr<Training> TrainingsService::GetOwn(const Caller& caller, RpcMethod method, const std::string& id) const {
  absl::StatusOr<Training> training = trainings_->Get(id);
  if (!training.ok()) return training;
  if (auto status = Authorizer::CheckModel(caller, method, training->model()); !status.ok()) return status;
  return Shown(*std::move(training));
}

Training TrainingsService::Shown(Training training) const {
  training.set_error(environment_->hidden_root.In(training.error()));
  return training;
}

void TrainingsService::EndWatches() {
  std::vector<std::weak_ptr<WatchStream>> watches;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    watches.swap(watches_);
  }
  for (const auto& watch : watches) {
    if (const auto stream = watch.lock()) stream->End(Stopping());
  }
}

}  // namespace densityd::rpc
