// density.v1.Datasets: rows kept for trainings.
#pragma once

#include "density/v1/datasets.grpc.pb.h"
#include "server/rpc/control.h"
#include "server/training/dataset_store.h"
#include "server/training/training_manager.h"

namespace densityd::rpc {

class DatasetsService final : public density::v1::Datasets::CallbackService {
 public:
  DatasetsService(training::DatasetStore& datasets, training::TrainingManager& trainings,
                  const ControlEnvironment& environment)
      : datasets_(&datasets), trainings_(&trainings), environment_(&environment) {}

  grpc::ServerReadReactor<density::v1::UploadDatasetRequest>* Upload(grpc::CallbackServerContext* context,
                                                                     density::v1::Dataset* response) override;
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const density::v1::GetDatasetRequest* request,
                                density::v1::Dataset* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context, const density::v1::ListDatasetsRequest* request,
                                 density::v1::ListDatasetsResponse* response) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context,
                                   const density::v1::DeleteDatasetRequest* request,
                                   density::v1::DeleteDatasetResponse* response) override;

 private:
  training::DatasetStore* datasets_;
  training::TrainingManager* trainings_;
  const ControlEnvironment* environment_;
};

}  // namespace densityd::rpc
