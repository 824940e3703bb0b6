// One StreamSample call.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "density/v1/density_estimator.pb.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_stream.h"
#include "server/rpc/row_stream.h"

namespace densityd::rpc {

/// `Service` has RequestStreamSample.
template <typename Service>
class SampleStream final : public RowStream {
 public:
  SampleStream(RowWorker& worker, Service& service, grpc::ServerCompletionQueue& queue)
      : RowStream(worker, telemetry::RpcMethod::kStreamSample),
        service_(&service),
        queue_(&queue),
        writer_(&context()) {}

 private:
  struct SampleChunk final : Chunk {
    density::v1::SampleResponse response;
  };

  void Request(Tag* arrived) override {
    service_->RequestStreamSample(&context(), &request_, &writer_, queue_, queue_, arrived);
  }
  std::shared_ptr<PostedCall> Another() const override {
    return std::make_shared<SampleStream>(worker(), *service_, *queue_);
  }
  std::string_view model_name() const override { return request_.sample().model(); }

  void Start() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (auto status = Admit(model_name()); !status.ok()) return Fail(status);
    const RowEnvironment& shared = environment();
    auto status = CheckMessageBytes(request_.ByteSizeLong(), shared.limits.max_message_bytes);
    if (!status.ok()) return Fail(status);
    auto chunks = SampleChunks::Create(request_, *shared.models, shared.limits);
    if (!chunks.ok()) return Fail(chunks.status());
    chunks_.emplace(*std::move(chunks));
  }

  void Continue() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (HasRoom()) {
      std::unique_ptr<Chunk> spare = TakeSpare();
      if (spare == nullptr) spare = std::make_unique<SampleChunk>();
      auto& chunk = static_cast<SampleChunk&>(*spare);
      chunk.response.Clear();
      RowRequest rows = chunks_->Next(chunk.response);
      if (chunks_->remaining() == 0) EndInput();
      Append(std::move(spare), std::move(rows));
    }
  }

  void Write(Chunk& chunk, grpc::WriteOptions options, Tag* written) override {
    writer_.Write(static_cast<SampleChunk&>(chunk).response, options, written);
  }
  void Finish(const grpc::Status& status, Tag* finished) override { writer_.Finish(status, finished); }

  Service* service_;
  grpc::ServerCompletionQueue* queue_;
  density::v1::StreamSampleRequest request_;
  grpc::ServerAsyncWriter<density::v1::SampleResponse> writer_;
  std::optional<SampleChunks> chunks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::rpc
