// density.v1.Datasets: rows kept for trainings.
#pragma once

#include <atomic>

#include "absl/status/statusor.h"
#include "density/v1/datasets.grpc.pb.h"
#include "server/rpc/unary_call.h"
#include "server/training/dataset_store.h"
#include "server/training/training_manager.h"

namespace densityd::rpc {

class DatasetsService final : public ControlService<density::v1::Datasets::Service> {
 public:
  DatasetsService(training::DatasetStore* datasets, training::TrainingManager* trainings,
                  const ControlEnvironment& environment);

 private:
  absl::StatusOr<density::v1::Dataset> DoGet(const density::v1::GetDatasetRequest& request, const Caller& caller);
  absl::StatusOr<density::v1::ListDatasetsResponse> DoList(const density::v1::ListDatasetsRequest& request,
                                                           const Caller& caller);
  absl::StatusOr<density::v1::DeleteDatasetResponse> DoDelete(const density::v1::DeleteDatasetRequest& request,
                                                              const Caller& caller);

  training::DatasetStore* datasets_;
  training::TrainingManager* trainings_;
  std::atomic<int> uploads_{0};
};

}  // namespace densityd::rpc
