#include "server/rpc/upload_stream.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/rpc/matrix.h"
#include "server/rpc/row_request.h"

namespace densityd::rpc {
namespace {

absl::Status CallerGone() { return absl::CancelledError("the caller went away before the end; nothing was stored"); }

}  // namespace

UploadStream* UploadStream::Begin(training::DatasetStore& datasets, const ControlEnvironment& environment,
                                  grpc::CallbackServerContext* context, density::v1::Dataset* response) {
  auto stream = std::make_unique<UploadStream>(datasets, environment, context, response);
  UploadStream* reactor = stream.get();
  reactor->self_ = std::move(stream);
  if (const absl::Status status = reactor->timer_.Admit(); !status.ok()) {
    reactor->End(status);
  } else {
    reactor->StartRead(&reactor->request_);
  }
  return reactor;
}

UploadStream::UploadStream(training::DatasetStore& datasets, const ControlEnvironment& environment,
                           grpc::CallbackServerContext* context, density::v1::Dataset* response)
    : datasets_(&datasets),
      environment_(&environment),
      context_(context),
      response_(response),
      timer_(environment, telemetry::RpcMethod::kDatasetsUpload, *context, "") {}

void UploadStream::OnReadDone(bool ok) { Step(ok ? &UploadStream::StoreChunk : &UploadStream::Commit); }

void UploadStream::Step(void (UploadStream::*step)()) {
  const absl::Status accepted = environment_->executor->Run([this, step] { (this->*step)(); });
  if (!accepted.ok()) End(accepted);
}

void UploadStream::StoreChunk() {
  const absl::Status status = context_->IsCancelled() ? CallerGone() : Append();
  if (!status.ok()) return End(status);
  ++chunks_;
  request_.Clear();
  StartRead(&request_);
}

absl::Status UploadStream::Append() {
  auto status = CheckMessageBytes(request_.ByteSizeLong(), environment_->max_message_bytes);
  if (!status.ok()) return status;
  if (writer_ == nullptr) {
    auto writer = datasets_->Create(request_.display_name(), {request_.columns().begin(), request_.columns().end()});
    if (!writer.ok()) return writer.status();
    writer_ = *std::move(writer);
  } else if (!request_.display_name().empty() || request_.columns_size() > 0) {
    return InvalidArgument("columns", absl::StrCat("and display_name belong in the first message only; message ",
                                                   chunks_, " (from 0) has them too"));
  }
  const auto rows = ViewRows("rows", request_.rows());
  if (!rows.ok()) return Annotate(rows.status(), absl::StrCat("message ", chunks_));
  return writer_->Append(*rows);
}

void UploadStream::Commit() {
  if (context_->IsCancelled()) return End(CallerGone());
  if (writer_ == nullptr) return End(InvalidArgument("rows", "the stream ended before its first message"));
  auto dataset = writer_->Commit();
  if (!dataset.ok()) return End(dataset.status());
  // The end of a stream and the news that it broke are independent events. Storing took long enough for the second to
  // have come; a caller who never learnt the id has no use for the dataset.
  if (context_->IsCancelled()) {
    const absl::Status deleted = datasets_->Delete(dataset->id());
    if (!deleted.ok()) {
      Log(LogLevel::kWarning, "dataset of a broken upload remains",
          {{"dataset", dataset->id()}, {"error", ToStd(deleted.message())}});
    }
    return End(CallerGone());
  }
  *response_ = *std::move(dataset);
  timer_.SetMade(NameOf(*response_));
  End(absl::OkStatus());
}

void UploadStream::End(const absl::Status& status) {
  // What was written goes before the caller hears of it.
  writer_.reset();
  Finish(timer_.ReportStream(status));
}

void UploadStream::OnDone() { self_.reset(); }

}  // namespace densityd::rpc
