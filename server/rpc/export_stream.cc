#include "server/rpc/export_stream.h"

#include <algorithm>
#include <utility>

namespace densityd::rpc {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

}  // namespace

ExportStream* ExportStream::Begin(registry::ModelManager& models, const ControlEnvironment& environment,
                                  grpc::CallbackServerContext* context, const std::string& model) {
  auto stream = std::make_unique<ExportStream>(models, environment, context, model);
  ExportStream* reactor = stream.get();
  reactor->self_ = std::move(stream);
  if (const absl::Status status = reactor->timer_.Admit(); !status.ok()) {
    reactor->End(status);
  } else {
    reactor->Step();
  }
  return reactor;
}

ExportStream::ExportStream(registry::ModelManager& models, const ControlEnvironment& environment,
                           grpc::CallbackServerContext* context, const std::string& model)
    : models_(&models),
      environment_(&environment),
      model_(model),
      timer_(environment, telemetry::RpcMethod::kModelsExport, *context, model) {}

void ExportStream::Step() {
  const absl::Status accepted = environment_->executor->Run([this] { ReadPiece(); });
  if (!accepted.ok()) End(accepted);
}

void ExportStream::ReadPiece() {
  if (!source_) {
    auto source = models_->Export(model_);
    if (!source.ok()) return End(source.status());
    source_.emplace(*std::move(source));
  }
  auto piece = source_->Next(std::min<size_t>(kPieceBytes, environment_->max_message_bytes / 2));
  if (!piece.ok()) return End(piece.status());
  if (piece->empty()) return End(absl::OkStatus());
  response_.set_chunk(*std::move(piece));
  StartWrite(&response_);
}

void ExportStream::OnWriteDone(bool ok) {
  if (ok) return Step();
  End(absl::CancelledError("the caller went away"));
}

void ExportStream::End(const absl::Status& status) { Finish(timer_.ReportStream(status)); }

void ExportStream::OnDone() { self_.reset(); }

}  // namespace densityd::rpc
