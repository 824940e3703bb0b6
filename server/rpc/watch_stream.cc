#include "server/rpc/watch_stream.h"

#include <utility>

namespace densityd::rpc {
namespace {

/// States kept for a slow reader before those in between are dropped.
constexpr size_t kMaxWaiting = 512;

bool IsFinal(const density::v1::Training& training) {
  return training.state() == density::v1::SUCCEEDED || training.state() == density::v1::FAILED ||
         training.state() == density::v1::CANCELLED;
}

}  // namespace

WatchStream::WatchStream(const ControlEnvironment& environment, grpc::CallbackServerContext* context,
                         const density::v1::WatchTrainingRequest& request)
    : environment_(&environment),
      timer_(environment, telemetry::RpcMethod::kTrainingsWatch, *context, request.id()),
      id_(request.id()),
      after_revision_(request.after_revision()) {}

std::shared_ptr<WatchStream> WatchStream::Begin(training::TrainingManager& trainings,
                                                const ControlEnvironment& environment,
                                                grpc::CallbackServerContext* context,
                                                const density::v1::WatchTrainingRequest& request) {
  auto stream = std::make_shared<WatchStream>(environment, context, request);
  stream->self_ = stream;
  absl::Status accepted = stream->timer_.Admit();
  if (!accepted.ok()) {
    stream->End(accepted);
    return stream;
  }
  accepted = environment.executor->Run([stream, &trainings] {
    const auto training = trainings.Get(stream->id_);
    if (!training.ok()) return stream->End(training.status());
    const absl::Status own =
        Authorizer::CheckModel(stream->timer_.caller(), telemetry::RpcMethod::kTrainingsWatch, training->model());
    if (!own.ok()) return stream->End(own);
    // The manager keeps its watchers; a watcher that kept the stream would keep it for ever.
    auto token = trainings.Watch(
        stream->id_,
        [weak = std::weak_ptr(stream)](const density::v1::Training& training) {
          if (const auto alive = weak.lock()) alive->OnState(training);
        },
        stream->after_revision_);
    if (!token.ok()) return stream->End(token.status());
    absl::MutexLock lock(&stream->mutex_);
    // Where the stream is done already, the token goes when this function has returned its lock.
    if (!stream->done_) stream->token_ = *std::move(token);
  });
  if (!accepted.ok()) stream->End(accepted);
  return stream;
}

void WatchStream::End(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (ending_) return;
  ending_ = true;
  end_ = status;
  waiting_.clear();
  Advance();
}

void WatchStream::OnState(const density::v1::Training& training) {
  absl::MutexLock lock(&mutex_);
  if (ending_ || final_) return;
  final_ = IsFinal(training);
  if (waiting_.size() >= kMaxWaiting) waiting_.pop_back();
  waiting_.push_back(training);
  Advance();
}

void WatchStream::Advance() {
  if (writing_ || finished_) return;
  if (!waiting_.empty()) {
    written_ = std::move(waiting_.front());
    waiting_.pop_front();
    written_.set_error(environment_->hidden_root.In(written_.error()));
    writing_ = true;
    StartWrite(&written_);
    return;
  }
  if (!ending_ && !final_) return;
  finished_ = true;
  Finish(timer_.ReportStream(end_));
}

void WatchStream::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  if (!ok && !ending_) {
    ending_ = true;
    end_ = absl::CancelledError("the caller went away");
    waiting_.clear();
  }
  Advance();
}

void WatchStream::OnCancel() { End(absl::CancelledError("the caller went away")); }

void WatchStream::OnDone() {
  std::unique_ptr<training::WatchToken> token;
  std::shared_ptr<WatchStream> self;
  {
    absl::MutexLock lock(&mutex_);
    done_ = true;
    token = std::move(token_);
    self = std::move(self_);
  }
  // Destroying the token waits for a call of OnState in progress, which takes the mutex.
  token.reset();
}

}  // namespace densityd::rpc
