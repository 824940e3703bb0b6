#include "server/rpc/export_stream.h"

#include <algorithm>
#include <utility>

#include "density/v1/model_registry.pb.h"

namespace densityd::rpc {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

}  // namespace

ExportStream::ExportStream(const ControlPosting& posting, registry::ModelManager& models,
                           const ControlEnvironment& environment)
    : ControlCall(posting),
      models_(&models),
      environment_(&environment),
      timer_(environment, telemetry::RpcMethod::kModelsExport, context()) {}

void ExportStream::Begin() {
  timer_.Begin();
  if (const absl::Status status = timer_.Authenticate(); !status.ok()) return End(status);
  StartRead();
}

void ExportStream::OnRead(bool ok) {
  if (!ok) return End(absl::CancelledError("the call ended before its request"));
  if (const absl::Status status = CheckShort(); !status.ok()) return End(status);
  Step(&ExportStream::Open);
}

void ExportStream::Step(void (ExportStream::*step)()) {
  const absl::Status accepted =
      Run(*environment_->executor, {.client = timer_.client(), .under_way = source_.has_value()},
          [this, step] { (this->*step)(); });
  if (!accepted.ok()) End(accepted);
}

void ExportStream::Open() {
  if (const absl::Status status = TakeRequest(); !status.ok()) return End(status);
  auto source = models_->Export(model_);
  if (!source.ok()) return End(source.status());
  source_.emplace(*std::move(source));
  WritePiece();
}

absl::Status ExportStream::TakeRequest() {
  density::v1::ExportModelRequest request;
  if (auto status = Take(request); !status.ok()) return status;
  model_ = request.model();
  timer_.SetSubject(model_);
  return timer_.Admit();
}

void ExportStream::WritePiece() {
  auto piece = source_->Next(std::min<size_t>(kPieceBytes, environment_->max_message_bytes / 2));
  if (!piece.ok()) return End(piece.status());
  if (piece->empty()) return End(absl::OkStatus());
  density::v1::ExportModelResponse response;
  response.set_chunk(*std::move(piece));
  StartWrite(response);
}

void ExportStream::OnWritten(bool ok) {
  if (ok) return Step(&ExportStream::WritePiece);
  End(absl::CancelledError("the caller went away"));
}

void ExportStream::End(const absl::Status& status) { Finish(timer_.ReportStream(status)); }

}  // namespace densityd::rpc
