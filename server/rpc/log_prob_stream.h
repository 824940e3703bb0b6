// One StreamLogProb call.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "density/v1/density_estimator.pb.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_stream.h"
#include "server/base/errors.h"
#include "server/rpc/row_stream.h"

namespace densityd::rpc {

/// `Service` has RequestStreamLogProb.
template <typename Service>
class LogProbStream final : public RowStream {
 public:
  LogProbStream(RowWorker& worker, Service& service, grpc::ServerCompletionQueue& queue)
      : RowStream(worker, telemetry::RpcMethod::kStreamLogProb),
        service_(&service),
        queue_(&queue),
        stream_(&context()) {}

 private:
  struct LogProbChunk final : Chunk {
    density::v1::LogProbRequest request;
    density::v1::LogProbResponse response;
  };

  void Request(Tag* arrived) override { service_->RequestStreamLogProb(&context(), &stream_, queue_, queue_, arrived); }
  std::shared_ptr<PostedCall> Another() const override {
    return std::make_shared<LogProbStream>(worker(), *service_, *queue_);
  }
  std::string_view model_name() const override { return model_name_; }

  void Start() override {}

  void Continue() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (reading_ != nullptr || !HasRoom()) return;
    std::unique_ptr<Chunk> spare = TakeSpare();
    reading_ = spare == nullptr ? std::make_unique<LogProbChunk>()
                                : std::unique_ptr<LogProbChunk>(static_cast<LogProbChunk*>(spare.release()));
    stream_.Read(&reading_->request, Arm(Event::kRead));
  }

  void OnRead(bool ok) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::unique_ptr<LogProbChunk> chunk = std::move(reading_);
    if (!ok) return EndInput();
    if (IsOver()) return;
    chunk->response.Clear();
    auto rows = Prepare(*chunk);
    Append(std::move(chunk), std::move(rows));
  }

  absl::StatusOr<RowRequest> Prepare(LogProbChunk& chunk) {
    const RowEnvironment& shared = environment();
    const density::v1::LogProbRequest& request = chunk.request;
    auto status = CheckMessageBytes(request.ByteSizeLong(), shared.limits.max_message_bytes);
    if (!status.ok()) return status;
    if (!model_.has_value()) {
      model_name_ = request.model();
      if (status = Admit(model_name_); !status.ok()) return status;
      auto model = shared.models->Acquire(model_name_);
      if (!model.ok()) return model.status();
      model_ = *std::move(model);
    } else if (!request.model().empty() && request.model() != model_name_) {
      return InvalidArgument("model", absl::StrCat("is not the one that the first message named; a stream has one "
                                                   "model. Leave it empty, or begin another stream"));
    }
    return PrepareRows(request, *model_, shared.limits, chunk.response);
  }

  void Write(Chunk& chunk, grpc::WriteOptions options, Tag* written) override {
    stream_.Write(static_cast<LogProbChunk&>(chunk).response, options, written);
  }
  void Finish(const grpc::Status& status, Tag* finished) override { stream_.Finish(status, finished); }

  Service* service_;
  grpc::ServerCompletionQueue* queue_;
  grpc::ServerAsyncReaderWriter<density::v1::LogProbResponse, density::v1::LogProbRequest> stream_;
  std::unique_ptr<LogProbChunk> reading_ ABSL_GUARDED_BY(mutex_);  ///< set while a read is outstanding
  // On the worker's thread.
  std::string model_name_;
  std::optional<registry::ModelHandle> model_;
};

}  // namespace densityd::rpc
