#include "server/rpc/import_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/registry/names.h"
#include "server/rpc/row_request.h"

namespace densityd::rpc {
namespace {

constexpr int kMaxRunning = 4;
constexpr absl::Duration kComeBack = absl::Seconds(5);

absl::Status CallerGone() { return absl::CancelledError("the caller went away before the end; nothing was published"); }

}  // namespace

ImportStream* ImportStream::Begin(registry::ModelManager& models, const ControlEnvironment& environment,
                                  std::atomic<int>& running, grpc::CallbackServerContext* context,
                                  density::v1::VersionInfo* response) {
  auto stream = std::make_unique<ImportStream>(models, environment, running, context, response);
  ImportStream* reactor = stream.get();
  reactor->self_ = std::move(stream);
  if (const absl::Status status = reactor->CheckBegin(running); !status.ok()) {
    reactor->End(status);
  } else {
    reactor->StartRead(&reactor->request_);
  }
  return reactor;
}

ImportStream::ImportStream(registry::ModelManager& models, const ControlEnvironment& environment,
                           std::atomic<int>& running, grpc::CallbackServerContext* context,
                           density::v1::VersionInfo* response)
    : models_(&models),
      environment_(&environment),
      running_(&running),
      context_(context),
      response_(response),
      timer_(environment, telemetry::RpcMethod::kModelsImport, *context, "") {
  ++running;
}

absl::Status ImportStream::CheckBegin(int running) {
  if (absl::Status status = timer_.Admit(); !status.ok()) return status;
  if (running <= kMaxRunning) return absl::OkStatus();
  return ResourceExhausted("imports", absl::StrCat(kMaxRunning, " imports run at the same time; try again later"),
                           kComeBack);
}

void ImportStream::OnReadDone(bool ok) { Step(ok ? &ImportStream::StoreChunk : &ImportStream::Commit); }

void ImportStream::Step(void (ImportStream::*step)()) {
  const absl::Status accepted = environment_->executor->Run([this, step] { (this->*step)(); });
  if (!accepted.ok()) End(accepted);
}

void ImportStream::StoreChunk() {
  const absl::Status status = context_->IsCancelled() ? CallerGone() : Append();
  if (!status.ok()) return End(status);
  ++chunks_;
  request_.Clear();
  StartRead(&request_);
}

absl::Status ImportStream::Append() {
  if (auto status = CheckMessageBytes(request_.ByteSizeLong(), environment_->max_message_bytes); !status.ok()) {
    return status;
  }
  if (import_ == nullptr) {
    name_ = request_.name();
    if (!name_.empty()) {
      if (auto status = CheckName(); !status.ok()) return status;
    }
    auto import = models_->BeginImport(environment_->max_import_bytes);
    if (!import.ok()) return import.status();
    import_ = *std::move(import);
  } else if (!request_.name().empty()) {
    return InvalidArgument(
        "name", absl::StrCat("belongs in the first message only; message ", chunks_, " (from 0) has it too"));
  }
  if (auto status = import_->Append(request_.chunk()); !status.ok()) return status;
  if (checked_ || import_->manifest() == nullptr) return absl::OkStatus();
  name_ = import_->manifest()->name();
  return CheckName();
}

absl::Status ImportStream::CheckName() {
  if (auto status = registry::CheckModelName("name", name_); !status.ok()) return status;
  timer_.SetSubject(name_);
  checked_ = true;
  return Authorizer::CheckModel(timer_.caller(), telemetry::RpcMethod::kModelsImport, name_);
}

void ImportStream::Commit() { End(context_->IsCancelled() ? CallerGone() : Publish()); }

absl::Status ImportStream::Publish() {
  if (import_ == nullptr) return InvalidArgument("archive", "is empty: the stream ended before its first message");
  if (auto status = import_->Finish(); !status.ok()) return status;
  auto version = models_->Import(*import_, name_);
  if (!version.ok()) return version.status();
  *response_ = *std::move(version);
  timer_.SetMade(NameOf(*response_));
  return absl::OkStatus();
}

void ImportStream::End(const absl::Status& status) {
  // What was written goes before the caller hears of it.
  import_.reset();
  Finish(timer_.ReportStream(status));
}

void ImportStream::OnDone() { self_.reset(); }

}  // namespace densityd::rpc
