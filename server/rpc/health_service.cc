#include "server/rpc/health_service.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "grpc/health/v1/health.pb.h"
#include "server/rpc/control_call.h"
#include "server/rpc/status.h"

namespace densityd::rpc {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

/// No model's name is longer.
constexpr size_t kMaxRequestBytes = 1024;

HealthCheckResponse Answer(Serving serving) {
  HealthCheckResponse response;
  response.set_status(static_cast<HealthCheckResponse::ServingStatus>(serving));
  return response;
}

/// The two calls begin alike: they read which service is meant. All is done on the worker's thread, so that health is
/// told however busy the executor is; it takes microseconds.
class HealthCall : public ControlCall {
 public:
  HealthCall(const ControlPosting& posting, Health& health) : ControlCall(posting), health_(&health) {}

 protected:
  Health& health() { return *health_; }
  /// The request came, or what is wrong with it.
  virtual void OnService(absl::StatusOr<std::string> service) = 0;
  void OnCancelled() override {}

 private:
  void Begin() final { StartRead(); }

  void OnRead(bool ok) final {
    HealthCheckRequest request;
    absl::Status status =
        ok ? Take(request, kMaxRequestBytes) : absl::CancelledError("the call ended before its request");
    if (!status.ok()) return OnService(std::move(status));
    OnService(std::move(*request.mutable_service()));
  }

  Health* health_;
};

class CheckCall final : public HealthCall {
 public:
  using HealthCall::HealthCall;

 private:
  void OnService(absl::StatusOr<std::string> service) override {
    if (!service.ok()) return Finish(ToGrpcStatus(service.status()));
    const Serving serving = health().Check(*service);
    if (serving != Serving::kServiceUnknown) return FinishWith(Answer(serving));
    Finish(ToGrpcStatus(absl::NotFoundError(absl::StrCat("no model is called \"", *service, "\""))));
  }
};

/// A reader that is too slow misses states in between, never the last. Thread-safe.
class HealthWatch final : public HealthCall, public HealthWatcher {
 public:
  using HealthCall::HealthCall;

  void OnServing(Serving serving) override {
    absl::MutexLock lock(&mutex_);
    if (end_.has_value()) return;
    next_ = serving;
    Advance();
  }

  void OnEnd() override {
    absl::MutexLock lock(&mutex_);
    End(absl::UnavailableError("the server is stopping"));
  }

 private:
  void OnService(absl::StatusOr<std::string> service) override {
    if (!service.ok()) {
      absl::MutexLock lock(&mutex_);
      return End(service.status());
    }
    health().Watch(*service, std::static_pointer_cast<HealthWatch>(shared_from_this()));
  }

  void OnWritten(bool ok) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) return EndUnread();
    Advance();
  }

  void OnCancelled() override {
    absl::MutexLock lock(&mutex_);
    EndUnread();
  }

  /// Nobody reads any more.
  void EndUnread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    next_.reset();
    End(absl::CancelledError("the caller went away"));
  }

  /// Ends the stream once the last state is written. The first call wins.
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!end_.has_value()) end_ = status;
    Advance();
  }

  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || finished_) return;
    if (next_.has_value()) {
      writing_ = true;
      return StartWrite(Answer(*std::exchange(next_, std::nullopt)));
    }
    if (!end_.has_value()) return;
    finished_ = true;
    Finish(ToGrpcStatus(*end_));
  }

  absl::Mutex mutex_;
  std::optional<Serving> next_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

HealthService::HealthService(Health& health) {
  AddControlMethod("grpc.health.v1.Health.Check",
                   [&health](const ControlPosting& posting) { return std::make_shared<CheckCall>(posting, health); });
  AddControlMethod("grpc.health.v1.Health.Watch",
                   [&health](const ControlPosting& posting) { return std::make_shared<HealthWatch>(posting, health); });
}

}  // namespace densityd::rpc
