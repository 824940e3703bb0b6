#include "server/rpc/watch_stream.h"

#include <utility>

namespace densityd::rpc {
namespace {

/// States kept for a slow reader before those in between are dropped.
constexpr size_t kMaxWaiting = 512;

absl::Status Stopping() { return absl::UnavailableError("the server is stopping; watch again where it comes back"); }

bool IsFinal(const density::v1::Training& training) {
  return training.state() == density::v1::SUCCEEDED || training.state() == density::v1::FAILED ||
         training.state() == density::v1::CANCELLED;
}

}  // namespace

void OpenWatches::Add(const std::shared_ptr<WatchStream>& stream) {
  absl::ReleasableMutexLock lock(&mutex_);
  if (ended_) {
    lock.Release();
    return stream->End(Stopping());
  }
  std::erase_if(streams_, [](const auto& entry) { return entry.expired(); });
  streams_.push_back(stream);
}

void OpenWatches::EndAll() {
  std::vector<std::weak_ptr<WatchStream>> streams;
  {
    absl::MutexLock lock(&mutex_);
    ended_ = true;
    streams.swap(streams_);
  }
  for (const auto& entry : streams) {
    if (const auto stream = entry.lock()) stream->End(Stopping());
  }
}

WatchStream::WatchStream(const ControlPosting& posting, training::TrainingManager* trainings,
                         const ControlEnvironment& environment, OpenWatches& open)
    : ControlCall(posting),
      trainings_(trainings),
      environment_(&environment),
      open_(&open),
      timer_(environment, telemetry::RpcMethod::kTrainingsWatch, context()) {}

void WatchStream::Begin() {
  timer_.Begin();
  if (const absl::Status status = timer_.Authenticate(); !status.ok()) {
    {
      absl::MutexLock lock(&mutex_);
      reading_ = false;
    }
    return End(status);
  }
  StartRead();
}

void WatchStream::OnRead(bool ok) {
  const auto self = std::static_pointer_cast<WatchStream>(shared_from_this());
  {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    // The news that the caller is gone may come before the end of its request.
    if (ending_) return Advance();
  }
  if (!ok) return End(absl::CancelledError("the call ended before its request"));
  if (const absl::Status status = CheckShort(); !status.ok()) return End(status);
  const Executor::Label label = {.client = timer_.client()};
  open_->Add(self);
  const absl::Status accepted = Run(*environment_->executor, label, [this] {
    if (const absl::Status status = Watch(); !status.ok()) End(status);
  });
  if (!accepted.ok()) End(accepted);
}

absl::Status WatchStream::Watch() {
  density::v1::WatchTrainingRequest request;
  if (auto status = Take(request); !status.ok()) return status;
  {
    absl::MutexLock lock(&mutex_);
    if (finished_) return absl::OkStatus();
    timer_.SetSubject(request.id());
    if (auto status = timer_.Admit(); !status.ok()) return status;
  }
  const auto training = trainings_->Get(request.id());
  if (!training.ok()) return training.status();
  if (auto status = Authorizer::CheckModel(timer_.caller(), telemetry::RpcMethod::kTrainingsWatch, training->model());
      !status.ok()) {
    return status;
  }
  // The manager keeps its watchers; a watcher that kept the stream would keep it for ever.
  auto token = trainings_->Watch(
      request.id(),
      [weak = std::weak_ptr(std::static_pointer_cast<WatchStream>(shared_from_this()))](
          const density::v1::Training& state) {
        if (const auto alive = weak.lock()) alive->OnState(state);
      },
      request.after_revision());
  if (!token.ok()) return token.status();
  absl::MutexLock lock(&mutex_);
  // Where the stream is done already, the token goes when this function has returned its lock.
  if (!done_) token_ = *std::move(token);
  return absl::OkStatus();
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
  if (reading_ || writing_ || finished_) return;
  if (!waiting_.empty()) {
    density::v1::Training& next = waiting_.front();
    next.set_error(environment_->hidden_root.In(next.error()));
    writing_ = true;
    StartWrite(next);
    waiting_.pop_front();
    return;
  }
  if (!ending_ && !final_) return;
  finished_ = true;
  Finish(timer_.ReportStream(end_));
}

void WatchStream::OnWritten(bool ok) {
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  if (!ok && !ending_) {
    ending_ = true;
    end_ = absl::CancelledError("the caller went away");
    waiting_.clear();
  }
  Advance();
}

void WatchStream::OnCancelled() { End(absl::CancelledError("the caller went away")); }

void WatchStream::OnFinished(bool /*ok*/) {
  std::unique_ptr<training::WatchToken> token;
  {
    absl::MutexLock lock(&mutex_);
    done_ = true;
    token = std::move(token_);
  }
  // Destroying the token waits for a call of OnState in progress, which takes the mutex.
  token.reset();
}

}  // namespace densityd::rpc
