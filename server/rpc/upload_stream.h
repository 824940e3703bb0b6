// One Datasets.Upload call: chunks of rows on their way to the disk.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "density/v1/datasets.pb.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/control.h"
#include "server/training/dataset_store.h"

namespace densityd::rpc {

/// Reads a chunk, stores it on the executor, reads the next: one thing at a time, so that nothing needs a lock and a
/// slow disk slows the sender. The dataset becomes visible only after the whole stream; otherwise nothing remains.
class UploadStream final : public grpc::ServerReadReactor<density::v1::UploadDatasetRequest> {
 public:
  static UploadStream* Begin(training::DatasetStore& datasets, const ControlEnvironment& environment,
                             grpc::CallbackServerContext* context, density::v1::Dataset* response);

  UploadStream(training::DatasetStore& datasets, const ControlEnvironment& environment,
               grpc::CallbackServerContext* context, density::v1::Dataset* response);

  void OnReadDone(bool ok) override;
  void OnDone() override;

 private:
  /// Runs one step on the executor; a step ends by reading on or by finishing.
  void Step(void (UploadStream::*step)());
  void StoreChunk();
  void Commit();
  absl::Status Append();
  void End(const absl::Status& status);

  training::DatasetStore* datasets_;
  const ControlEnvironment* environment_;
  grpc::CallbackServerContext* context_;
  density::v1::Dataset* response_;
  CallTimer timer_;
  std::unique_ptr<UploadStream> self_;  ///< until OnDone

  density::v1::UploadDatasetRequest request_;
  std::unique_ptr<training::DatasetWriter> writer_;
  uint64_t chunks_ = 0;
};

}  // namespace densityd::rpc
