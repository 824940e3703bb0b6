// A server in this process whose answers a test decides, for what a client does with them.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "density/v1/datasets.grpc.pb.h"
#include "density/v1/density_estimator.grpc.pb.h"
#include "density/v1/model_registry.grpc.pb.h"
#include "density/v1/training.grpc.pb.h"
#include "densityd/client.h"
#include "google/protobuf/any.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"

namespace densityd {

namespace v1 = density::v1;

/// A handler of a unary method. Unset: UNIMPLEMENTED.
template <typename Request, typename Response>
using Handler = std::function<grpc::Status(grpc::ServerContext&, const Request&, Response&)>;

template <typename Request, typename Response>
grpc::Status Handle(const Handler<Request, Response>& handler, grpc::ServerContext& context, const Request& request,
                    Response& response) {
  if (handler == nullptr) return {grpc::StatusCode::UNIMPLEMENTED, "the test set no handler"};
  return handler(context, request, response);
}

/// Set the handlers before the first call.
class FakeEstimator : public v1::DensityEstimator::Service {
 public:
  Handler<v1::LogProbRequest, v1::LogProbResponse> log_prob;
  Handler<v1::SampleRequest, v1::SampleResponse> sample;
  Handler<v1::InverseRequest, v1::InverseResponse> inverse;
  Handler<v1::ForwardRequest, v1::ForwardResponse> forward;
  Handler<v1::ScoreRequest, v1::ScoreResponse> score;
  Handler<v1::ExplainRequest, v1::ExplainResponse> explain;
  Handler<v1::TrainRequest, v1::Training> train;
  /// Streams break off with this status after so many chunks, once.
  grpc::Status break_with;
  int break_after = -1;
  std::vector<v1::StreamSampleRequest> stream_sample_requests;

 private:
  /// Chunks are answered as `sample` answers requests.
  grpc::Status StreamSample(grpc::ServerContext* c, const v1::StreamSampleRequest* q,
                            grpc::ServerWriter<v1::SampleResponse>* writer) override {
    stream_sample_requests.push_back(*q);
    const uint64_t chunk_rows = q->chunk_rows() == 0 ? 4096 : q->chunk_rows();
    v1::SampleRequest part = q->sample();
    for (uint64_t begin = 0; begin < q->sample().rows(); begin += chunk_rows) {
      if (break_after-- == 0) return break_with;
      part.set_rows(std::min(chunk_rows, q->sample().rows() - begin));
      part.set_row_offset(q->sample().row_offset() + begin);
      v1::SampleResponse response;
      const grpc::Status status = Handle(sample, *c, part, response);
      if (!status.ok()) return status;
      if (!writer->Write(response)) return grpc::Status::CANCELLED;
      part.set_seed(response.seed());
    }
    return grpc::Status::OK;
  }
  /// Chunks are answered as `log_prob` answers requests.
  grpc::Status StreamLogProb(grpc::ServerContext* c,
                             grpc::ServerReaderWriter<v1::LogProbResponse, v1::LogProbRequest>* stream) override {
    v1::LogProbRequest request;
    std::string model;
    while (stream->Read(&request)) {
      if (break_after-- == 0) return break_with;
      if (model.empty()) model = request.model();
      if (request.model().empty()) request.set_model(model);
      v1::LogProbResponse response;
      const grpc::Status status = Handle(log_prob, *c, request, response);
      if (!status.ok()) return status;
      stream->Write(response);
    }
    return grpc::Status::OK;
  }
  grpc::Status LogProb(grpc::ServerContext* c, const v1::LogProbRequest* q, v1::LogProbResponse* a) override {
    return Handle(log_prob, *c, *q, *a);
  }
  grpc::Status Sample(grpc::ServerContext* c, const v1::SampleRequest* q, v1::SampleResponse* a) override {
    return Handle(sample, *c, *q, *a);
  }
  grpc::Status Score(grpc::ServerContext* c, const v1::ScoreRequest* q, v1::ScoreResponse* a) override {
    return Handle(score, *c, *q, *a);
  }
  grpc::Status Inverse(grpc::ServerContext* c, const v1::InverseRequest* q, v1::InverseResponse* a) override {
    return Handle(inverse, *c, *q, *a);
  }
  grpc::Status Forward(grpc::ServerContext* c, const v1::ForwardRequest* q, v1::ForwardResponse* a) override {
    return Handle(forward, *c, *q, *a);
  }
  grpc::Status Explain(grpc::ServerContext* c, const v1::ExplainRequest* q, v1::ExplainResponse* a) override {
    return Handle(explain, *c, *q, *a);
  }
  grpc::Status Train(grpc::ServerContext* c, const v1::TrainRequest* q, v1::Training* a) override {
    return Handle(train, *c, *q, *a);
  }
};

class FakeTrainings : public v1::Trainings::Service {
 public:
  Handler<v1::GetTrainingRequest, v1::Training> get;
  Handler<v1::ListTrainingsRequest, v1::ListTrainingsResponse> list;
  Handler<v1::CancelTrainingRequest, v1::Training> cancel;
  std::function<grpc::Status(const v1::WatchTrainingRequest&, grpc::ServerWriter<v1::Training>&)> watch;

 private:
  grpc::Status Get(grpc::ServerContext* c, const v1::GetTrainingRequest* q, v1::Training* a) override {
    return Handle(get, *c, *q, *a);
  }
  grpc::Status List(grpc::ServerContext* c, const v1::ListTrainingsRequest* q, v1::ListTrainingsResponse* a) override {
    return Handle(list, *c, *q, *a);
  }
  grpc::Status Cancel(grpc::ServerContext* c, const v1::CancelTrainingRequest* q, v1::Training* a) override {
    return Handle(cancel, *c, *q, *a);
  }
  grpc::Status Watch(grpc::ServerContext*, const v1::WatchTrainingRequest* q,
                     grpc::ServerWriter<v1::Training>* writer) override {
    if (watch == nullptr) return {grpc::StatusCode::UNIMPLEMENTED, "the test set no handler"};
    return watch(*q, *writer);
  }
};

/// Keeps the messages of the last upload; `outcome` is its answer.
class FakeDatasets : public v1::Datasets::Service {
 public:
  std::vector<v1::UploadDatasetRequest> messages;
  grpc::Status outcome;
  size_t read_at_most = SIZE_MAX;  ///< messages after which the upload is answered without reading on
  Handler<v1::ListDatasetsRequest, v1::ListDatasetsResponse> list;
  Handler<v1::DeleteDatasetRequest, v1::DeleteDatasetResponse> remove;

 private:
  grpc::Status Upload(grpc::ServerContext*, grpc::ServerReader<v1::UploadDatasetRequest>* reader,
                      v1::Dataset* dataset) override {
    messages.clear();
    v1::UploadDatasetRequest message;
    uint64_t rows = 0;
    while (messages.size() < read_at_most && reader->Read(&message)) {
      rows += message.rows().rows();
      messages.push_back(message);
    }
    dataset->set_id("d1");
    dataset->set_rows(rows);
    return outcome;
  }
  grpc::Status List(grpc::ServerContext* c, const v1::ListDatasetsRequest* q, v1::ListDatasetsResponse* a) override {
    return Handle(list, *c, *q, *a);
  }
  grpc::Status Delete(grpc::ServerContext* c, const v1::DeleteDatasetRequest* q,
                      v1::DeleteDatasetResponse* a) override {
    return Handle(remove, *c, *q, *a);
  }
};

class FakeRegistry : public v1::ModelRegistry::Service {
 public:
  Handler<v1::ListModelsRequest, v1::ListModelsResponse> list;
  Handler<v1::GetModelRequest, v1::ModelDetail> get;
  Handler<v1::GetPlanRequest, v1::PlanDetail> get_plan;
  Handler<v1::LoadModelRequest, v1::VersionInfo> load;
  Handler<v1::UnloadModelRequest, v1::VersionInfo> unload;
  Handler<v1::DeleteModelRequest, v1::DeleteModelResponse> remove;
  Handler<v1::SetAliasRequest, v1::Aliases> set_alias;
  Handler<v1::DeleteAliasRequest, v1::Aliases> delete_alias;
  Handler<v1::ReloadFromDiskRequest, v1::ReloadFromDiskResponse> reload;
  std::vector<std::string> exported;  ///< the pieces of any version
  grpc::Status export_end;
  std::string imported_name;  ///< of the last import
  std::string imported;       ///< its bytes
  grpc::Status import_end;

 private:
  grpc::Status ReloadFromDisk(grpc::ServerContext* c, const v1::ReloadFromDiskRequest* q,
                              v1::ReloadFromDiskResponse* a) override {
    return Handle(reload, *c, *q, *a);
  }
  grpc::Status Export(grpc::ServerContext*, const v1::ExportModelRequest*,
                      grpc::ServerWriter<v1::ExportModelResponse>* writer) override {
    v1::ExportModelResponse response;
    for (const std::string& piece : exported) {
      response.set_chunk(piece);
      if (!writer->Write(response)) break;
    }
    return export_end;
  }
  grpc::Status Import(grpc::ServerContext*, grpc::ServerReader<v1::ImportModelRequest>* reader,
                      v1::VersionInfo* version) override {
    v1::ImportModelRequest request;
    imported.clear();
    for (bool first = true; reader->Read(&request); first = false) {
      if (first) imported_name = request.name();
      imported += request.chunk();
    }
    version->set_name(imported_name.empty() ? "power" : imported_name);
    version->set_version(4);
    version->set_state(v1::READY);
    return import_end;
  }

  grpc::Status List(grpc::ServerContext* c, const v1::ListModelsRequest* q, v1::ListModelsResponse* a) override {
    return Handle(list, *c, *q, *a);
  }
  grpc::Status Get(grpc::ServerContext* c, const v1::GetModelRequest* q, v1::ModelDetail* a) override {
    return Handle(get, *c, *q, *a);
  }
  grpc::Status GetPlan(grpc::ServerContext* c, const v1::GetPlanRequest* q, v1::PlanDetail* a) override {
    return Handle(get_plan, *c, *q, *a);
  }
  grpc::Status Load(grpc::ServerContext* c, const v1::LoadModelRequest* q, v1::VersionInfo* a) override {
    return Handle(load, *c, *q, *a);
  }
  grpc::Status Unload(grpc::ServerContext* c, const v1::UnloadModelRequest* q, v1::VersionInfo* a) override {
    return Handle(unload, *c, *q, *a);
  }
  grpc::Status Delete(grpc::ServerContext* c, const v1::DeleteModelRequest* q, v1::DeleteModelResponse* a) override {
    return Handle(remove, *c, *q, *a);
  }
  grpc::Status SetAlias(grpc::ServerContext* c, const v1::SetAliasRequest* q, v1::Aliases* a) override {
    return Handle(set_alias, *c, *q, *a);
  }
  grpc::Status DeleteAlias(grpc::ServerContext* c, const v1::DeleteAliasRequest* q, v1::Aliases* a) override {
    return Handle(delete_alias, *c, *q, *a);
  }
};

/// All services on a free port of 127.0.0.1, with the standard health service.
class FakeServer {
 public:
  FakeServer() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&estimator);
    builder.RegisterService(&trainings);
    builder.RegisterService(&datasets);
    builder.RegisterService(&registry);
    server_ = builder.BuildAndStart();
  }
  ~FakeServer() { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  grpc::HealthCheckServiceInterface& health() { return *server_->GetHealthCheckService(); }

  /// Options for a client of this server whose repetitions take no noticeable time.
  ClientOptions options() const {
    ClientOptions options;
    options.address = address();
    options.retry.initial_backoff = absl::Milliseconds(1);
    options.retry.max_backoff = absl::Milliseconds(2);
    return options;
  }
  /// A client with those options.
  Client Connect() const { return *Client::Connect(options()); }

  FakeEstimator estimator;
  FakeTrainings trainings;
  FakeDatasets datasets;
  FakeRegistry registry;

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

/// An error with google.rpc details, as the server sends it.
template <typename... Details>
grpc::Status ErrorWith(grpc::StatusCode code, const std::string& message, const Details&... details) {
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  (status.add_details()->PackFrom(details), ...);
  return grpc::Status(code, message, status.SerializeAsString());
}

}  // namespace densityd
