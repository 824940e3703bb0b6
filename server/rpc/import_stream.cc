#include "server/rpc/import_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/registry/names.h"
#include "server/rpc/control_memory.h"
#include "server/rpc/row_request.h"

namespace densityd::rpc {
namespace {

absl::Status CallerGone() { return absl::CancelledError("the caller went away before the end; nothing was published"); }

}  // namespace

ImportStream::ImportStream(const ControlPosting& posting, registry::ModelManager& models,
                           const ControlEnvironment& environment, std::atomic<int>& running)
    : ControlCall(posting),
      models_(&models),
      environment_(&environment),
      running_(&running),
      timer_(environment, telemetry::RpcMethod::kModelsImport, context()) {}

void ImportStream::Begin() {
  timer_.Begin();
  if (const absl::Status status = CheckBegin(); !status.ok()) return End(status);
  StartRead();
}

absl::Status ImportStream::CheckBegin() {
  if (absl::Status status = timer_.Admit(); !status.ok()) return status;
  return slot_.Take(*running_, kMostRunning, "imports");
}

void ImportStream::OnRead(bool ok) {
  if (ok && !environment_->stream_memory->Reserve(message_bytes(), memory_)) {
    return End(NoMemory(*environment_->stream_memory, "uploads and imports hold"));
  }
  if (ok) return Step(&ImportStream::StoreChunk, Executor::Kind::kShort);
  Step(&ImportStream::Commit, Executor::Kind::kLong);
}

void ImportStream::Step(void (ImportStream::*step)(), Executor::Kind kind) {
  const absl::Status accepted =
      Run(*environment_->executor, {.client = timer_.client(), .kind = kind, .under_way = true},
          [this, step] { (this->*step)(); });
  if (!accepted.ok()) End(accepted);
}

void ImportStream::StoreChunk() {
  const absl::Status status = context().IsCancelled() ? CallerGone() : Append();
  if (!status.ok()) return End(status);
  ++chunks_;
  memory_.Release();
  StartRead();
}

absl::Status ImportStream::Append() {
  density::v1::ImportModelRequest request;
  if (auto status = Take(request); !status.ok()) return status;
  if (auto status = CheckMessageBytes(request.ByteSizeLong(), environment_->max_message_bytes); !status.ok()) {
    return status;
  }
  if (import_ == nullptr) {
    name_ = request.name();
    if (!name_.empty()) {
      if (auto status = CheckName(); !status.ok()) return status;
    }
    auto import = models_->BeginImport(environment_->max_import_bytes);
    if (!import.ok()) return import.status();
    import_ = *std::move(import);
  } else if (!request.name().empty()) {
    return InvalidArgument(
        "name", absl::StrCat("belongs in the first message only; message ", chunks_, " (from 0) has it too"));
  }
  if (auto status = import_->Append(request.chunk()); !status.ok()) return status;
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

void ImportStream::Commit() {
  if (context().IsCancelled()) return End(CallerGone());
  const absl::StatusOr<density::v1::VersionInfo> version = Publish();
  if (!version.ok()) return End(version.status());
  import_.reset();
  timer_.SetMade(NameOf(*version));
  timer_.ReportStream(absl::OkStatus());
  FinishWith(*version);
}

absl::StatusOr<density::v1::VersionInfo> ImportStream::Publish() {
  if (import_ == nullptr) return InvalidArgument("archive", "is empty: the stream ended before its first message");
  if (auto status = import_->Finish(); !status.ok()) return status;
  return models_->Import(*import_, name_);
}

void ImportStream::End(const absl::Status& status) {
  // What was written goes before the caller hears of it.
  import_.reset();
  Finish(timer_.ReportStream(status));
}

}  // namespace densityd::rpc
