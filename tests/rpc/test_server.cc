#include "tests/rpc/test_server.h"

#include <filesystem>
#include <stdexcept>
#include <utility>

#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "server/base/file_system.h"
#include "server/rpc/served_model.h"

namespace densityd::rpc {
namespace {

/// The value, or the end of the test with the reason.
template <typename T>
T Need(absl::StatusOr<T> value) {
  if (!value.ok()) throw std::runtime_error(value.status().ToString());
  return *std::move(value);
}

void Need(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

PlanSource FakePlans(const std::shared_ptr<PlanProbe>& probe, const registry::ModelStore& store) {
  PlanSource source;
  source.compile = [probe](const density::v1::FlowSpec& spec, absl::Span<const registry::Tensor>,
                           const engine::CompileOptions& options) -> absl::StatusOr<std::unique_ptr<engine::Plan>> {
    return std::make_unique<FakePlan>(spec.features(), spec.context_features(), options.precision, probe);
  };
  source.float64_info = [probe](const density::v1::FlowSpec& spec) {
    return FakePlan(spec.features(), spec.context_features(), NumberType::kFloat64, probe).info();
  };
  source.read = [store](const std::string& name, uint64_t version) { return store.Read(name, version); };
  return source;
}

std::string WriteScript(const densityd::testing::TempFolder& folder, const std::string& text) {
  const std::string path = folder.Path("worker");
  densityd::testing::WriteFile(path, text);
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

}  // namespace

TestServer::TestServer(const Settings& settings)
    : settings_(settings),
      metrics_(std::make_unique<telemetry::Metrics>(settings.workers)),
      access_log_({.slow = absl::InfiniteDuration(), .lines_per_second = 0}, Clock::Real()) {
  store_ = std::make_unique<registry::ModelStore>(
      Need(registry::ModelStore::Open(FileSystem::Real(), folder_.path(), /*clean_tmp=*/true)));
  datasets_ = std::make_unique<training::DatasetStore>(
      Need(training::DatasetStore::Open(FileSystem::Real(), folder_.path(), settings.max_dataset_bytes)));
  models_ = std::make_unique<registry::ModelManager>(
      *store_, MakeLoader(FakePlans(probe_, *store_), "cpu", /*workers=*/1, *metrics_), size_t{1} << 30,
      registry::ModelEvents{[this](const density::v1::VersionInfo& info) {
        metrics_->OnVersion(info);
        health_.OnModelChanged(info.name());
      }});
  training::TrainingManagerOptions options;
  options.root = folder_.path();
  options.worker_binary = WriteScript(scripts_, settings.training_process);
  trainings_ = Need(training::TrainingManager::Open(
      FileSystem::Real(), *datasets_, options,
      [this](const std::string& model, uint64_t version) { return models_->OnPublished(model, version); }));
  ServerOptions server;
  server.address = "127.0.0.1:0";
  server.workers = settings.workers;
  server.limits = settings.limits;
  server.max_queued_rows = settings.max_queued_rows;
  server.max_queued_bytes = settings.max_queued_bytes;
  server.client_limits = settings.client_limits;
  server.max_uploads = settings.max_uploads;
  server.message_patience = settings.message_patience;
  server_ = Need(Server::Start(server, {.models = models_.get(),
                                        .datasets = datasets_.get(),
                                        .trainings = trainings_.get(),
                                        .metrics = metrics_.get(),
                                        .access_log = &access_log_,
                                        .health = &health_,
                                        .clock = settings.clock,
                                        .authorizer = settings.authorizer,
                                        .audit_log = settings.audit_log,
                                        .hidden_root = HiddenRoot(folder_.path())}));
  channel_ = Connect();
  estimator_ = density::v1::DensityEstimator::NewStub(channel_);
  trainings_stub_ = density::v1::Trainings::NewStub(channel_);
  datasets_stub_ = density::v1::Datasets::NewStub(channel_);
  registry_stub_ = density::v1::ModelRegistry::NewStub(channel_);
}

TestServer::~TestServer() { probe_->Release(); }

uint64_t TestServer::Publish(const std::string& name, size_t features, size_t context, bool calibrated,
                             const std::function<void(density::v1::FlowSpec&)>& change) {
  density::v1::ModelManifest manifest;
  manifest.mutable_spec()->set_features(features);
  manifest.mutable_spec()->set_context_features(context);
  manifest.mutable_spec()->add_layers()->mutable_full_affine();
  if (change) change(*manifest.mutable_spec());
  for (size_t i = 0; i < features; ++i) {
    density::v1::Column& column = *manifest.mutable_schema()->add_features();
    column.set_name(std::to_string(i));
    if (!calibrated) continue;
    column.set_min(-3);
    column.set_max(3);
    column.set_stddev(1);
  }
  for (size_t i = 0; i < context; ++i) {
    manifest.mutable_schema()->add_context()->set_name("c" + std::to_string(i));
  }
  for (const double level : {0.0, 0.5, 1.0}) {
    if (!calibrated) break;
    manifest.mutable_calibration()->add_levels(level);
    manifest.mutable_calibration()->add_log_prob(-10 + 10 * level);
  }
  const registry::Tensor tensor{"weight", registry::DType::kF32, {1}, std::string(4, '\0')};
  const uint64_t version = Need(store_->Publish(name, manifest, {tensor}));
  Need(models_->OnPublished(name, version));
  return version;
}

std::shared_ptr<grpc::Channel> TestServer::Connect() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials(),
                                   arguments);
}

void TestServer::Sync() {
  // Frames of one connection are read in order: when this call is answered, those before it have been read.
  density::v1::ListModelsResponse response;
  const grpc::Status status = registry_stub_->List(Context().get(), {}, &response);
  if (!status.ok()) throw std::runtime_error(status.error_message());
}

std::unique_ptr<grpc::ClientContext> Context() {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  return context;
}

density::v1::Matrix Rows(size_t cols, const std::vector<float>& values) {
  density::v1::Matrix matrix;
  matrix.set_rows(values.size() / cols);
  matrix.set_cols(cols);
  matrix.mutable_values()->Add(values.begin(), values.end());
  return matrix;
}

}  // namespace densityd::rpc
