#include "server/rpc/upload_stream.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "density/v1/datasets.pb.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/rpc/control_memory.h"
#include "server/rpc/matrix.h"
#include "server/rpc/row_request.h"

namespace densityd::rpc {
namespace {

absl::Status CallerGone() { return absl::CancelledError("the caller went away before the end; nothing was stored"); }

}  // namespace

UploadStream::UploadStream(const ControlPosting& posting, training::DatasetStore* datasets,
                           const ControlEnvironment& environment, std::atomic<int>& running)
    : ControlCall(posting),
      datasets_(datasets),
      environment_(&environment),
      running_(&running),
      timer_(environment, telemetry::RpcMethod::kDatasetsUpload, context()) {}

void UploadStream::Begin() {
  timer_.Begin();
  if (const absl::Status status = CheckBegin(); !status.ok()) return End(status);
  StartRead();
}

absl::Status UploadStream::CheckBegin() {
  if (absl::Status status = timer_.Admit(); !status.ok()) return status;
  return slot_.Take(*running_, environment_->max_uploads, "uploads");
}

void UploadStream::OnRead(bool ok) {
  if (ok && !environment_->stream_memory->Reserve(message_bytes(), memory_)) {
    return End(NoMemory(*environment_->stream_memory, "uploads and imports hold"));
  }
  Step(ok ? &UploadStream::StoreChunk : &UploadStream::Commit);
}

void UploadStream::Step(void (UploadStream::*step)()) {
  const absl::Status accepted =
      Run(*environment_->executor, {.client = timer_.client(), .under_way = true}, [this, step] { (this->*step)(); });
  if (!accepted.ok()) End(accepted);
}

void UploadStream::StoreChunk() {
  const absl::Status status = context().IsCancelled() ? CallerGone() : Append();
  if (!status.ok()) return End(status);
  ++chunks_;
  memory_.Release();
  StartRead();
}

absl::Status UploadStream::Append() {
  density::v1::UploadDatasetRequest request;
  if (auto status = Take(request); !status.ok()) return status;
  auto status = CheckMessageBytes(request.ByteSizeLong(), environment_->max_message_bytes);
  if (!status.ok()) return status;
  if (writer_ == nullptr) {
    auto writer = datasets_->Create(request.display_name(), {request.columns().begin(), request.columns().end()},
                                    {request.missing_columns().begin(), request.missing_columns().end()});
    if (!writer.ok()) return writer.status();
    writer_ = *std::move(writer);
  } else if (!request.display_name().empty() || request.columns_size() > 0 || request.missing_columns_size() > 0) {
    return InvalidArgument("columns", absl::StrCat("display_name and missing_columns belong in the first message only; "
                                                   "message ",
                                                   chunks_, " (from 0) has some of them too"));
  }
  const auto rows = ViewRows("rows", request.rows());
  if (!rows.ok()) return Annotate(rows.status(), absl::StrCat("message ", chunks_));
  return writer_->Append(*rows);
}

void UploadStream::Commit() {
  if (context().IsCancelled()) return End(CallerGone());
  if (writer_ == nullptr) return End(InvalidArgument("rows", "the stream ended before its first message"));
  auto dataset = writer_->Commit();
  if (!dataset.ok()) return End(dataset.status());
  stored_ = dataset->id();
  timer_.SetMade(NameOf(*dataset));
  writer_.reset();
  timer_.ReportStream(absl::OkStatus());
  FinishWith(*dataset);
}

void UploadStream::OnFinished(bool ok) {
  // A stream that broke ends for its reader like one that its caller closed, and the news that it broke may come long
  // after. But nothing goes out on it any more.
  if (ok || stored_.empty()) return;
  Run(*environment_->executor, {.client = timer_.client(), .under_way = true}, [this] { Revoke(); }).IgnoreError();
}

void UploadStream::Revoke() {
  if (const absl::Status deleted = datasets_->Delete(stored_); !deleted.ok()) {
    Log(LogLevel::kWarning, "dataset of a broken upload remains",
        {{"dataset", stored_}, {"error", ToStd(deleted.message())}});
  }
}

void UploadStream::End(const absl::Status& status) {
  // What was written goes before the caller hears of it.
  writer_.reset();
  Finish(timer_.ReportStream(status));
}

}  // namespace densityd::rpc
