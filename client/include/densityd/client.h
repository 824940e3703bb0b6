// Client of densityd: train, store and query normalizing flows from C++.
//
//   #include "densityd/client.h"
//
//   absl::StatusOr<densityd::Client> client = densityd::Client::Connect({.address = "127.0.0.1:50051"});
//   if (!client.ok()) return client.status();
//   std::vector<float> rows = …;  // row-major, 6 columns
//   auto answer = client->LogProb("power", {rows, 6}, {.tail_probability = true});
//   if (!answer.ok()) {
//     std::cerr << densityd::ErrorText(answer.status()) << "\n";
//     return answer.status();
//   }
//   std::cout << answer->model.ToString() << ": " << answer->log_prob[0] << " nats\n";
//
// Rows are float or double, and so are the answers. Control messages (trainings, models, datasets) are the protobuf
// messages of the API, density::v1.
//
// A model is named `name`, `name@3` (a version) or `name@stable` (an alias); without suffix it is the alias `latest`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/datasets.pb.h"
#include "density/v1/model_registry.pb.h"
#include "density/v1/training.pb.h"
#include "densityd/errors.h"
#include "densityd/options.h"
#include "densityd/results.h"
#include "densityd/rows.h"
#include "densityd/streams.h"

namespace densityd {

class DatasetUpload;

/// A connection to one server. Thread-safe, except that it must not be moved or destroyed while it is in use; cheap to
/// share, so that a program needs one.
///
/// Every call blocks until it has the answer, until it failed, or until its timeout (DEADLINE_EXCEEDED). Errors are the
/// server's, with the code and details that it sent (densityd/errors.h), and:
///   UNAVAILABLE        the server could not be reached, after the repetitions that the RetryPolicy allows;
///   INVALID_ARGUMENT   what can be seen before sending: rows that are not rectangular, a context of a wrong length.
class Client {
 public:
  /// Makes a client. Does not wait for the server: the first call connects. INVALID_ARGUMENT for bad options.
  static absl::StatusOr<Client> Connect(ClientOptions options);

  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  // --- Rows. Large inputs and outputs are split into several requests. All parts are answered by the version that
  // --- answered the first, even if an alias moves meanwhile, and the answer is the same as that of one request.

  /// log p(x | context) of each row x (N, D), in nats of the original columns.
  absl::StatusOr<LogProbResult<float>> LogProb(std::string_view model, RowsView<float> rows,
                                               const LogProbOptions<float>& options = {}) const;
  absl::StatusOr<LogProbResult<double>> LogProb(std::string_view model, RowsView<double> rows,
                                                const LogProbOptions<double>& options = {}) const;

  /// Data to base: x (N, D) -> z (N, D), with log|det dz/dx|.
  absl::StatusOr<MapResult<float>> Inverse(std::string_view model, RowsView<float> rows,
                                           const MapOptions<float>& options = {}) const;
  absl::StatusOr<MapResult<double>> Inverse(std::string_view model, RowsView<double> rows,
                                            const MapOptions<double>& options = {}) const;

  /// Base to data: z (N, D) -> x (N, D), with log|det dx/dz|.
  absl::StatusOr<MapResult<float>> Forward(std::string_view model, RowsView<float> rows,
                                           const MapOptions<float>& options = {}) const;
  absl::StatusOr<MapResult<double>> Forward(std::string_view model, RowsView<double> rows,
                                            const MapOptions<double>& options = {}) const;

  /// The gradient of log p(x | context) by x at each row x (N, D), with log p.
  absl::StatusOr<ScoreResult<float>> Score(std::string_view model, RowsView<float> rows,
                                           const MapOptions<float>& options = {}) const;
  absl::StatusOr<ScoreResult<double>> Score(std::string_view model, RowsView<double> rows,
                                            const MapOptions<double>& options = {}) const;

  /// `rows` rows drawn from the model.
  template <RowNumber T = float>
  absl::StatusOr<SampleResult<T>> Sample(std::string_view model, uint64_t rows,
                                         const SampleOptions<T>& options = {}) const;

  // --- Rows without end, see densityd/streams.h. The client must outlive its streams. Their timeouts are those of the
  // --- whole stream; unset: none.

  /// `rows` rows drawn from the model, chunk by chunk: those that Sample would draw.
  template <RowNumber T = float>
  absl::StatusOr<SampleStream<T>> StreamSample(std::string_view model, uint64_t rows,
                                               const SampleOptions<T>& options = {}) const;
  /// log p(x | context) of rows that are sent piece by piece; `on_answer` gets the answers. `options.context` is one
  /// row (1, C) for all, or none.
  template <RowNumber T = float>
  absl::StatusOr<LogProbStream<T>> StreamLogProb(std::string_view model, OnLogProb<T> on_answer,
                                                 const LogProbOptions<T>& options = {}) const;

  /// Which columns make each row x (N, D) surprising, and what was expected there given all others.
  absl::StatusOr<Explanation<float>> Explain(std::string_view model, RowsView<float> rows,
                                             const ExplainOptions<float>& options = {}) const;
  absl::StatusOr<Explanation<double>> Explain(std::string_view model, RowsView<double> rows,
                                              const ExplainOptions<double>& options = {}) const;

  // --- Trainings.

  /// Starts a training and returns at once. Safe to repeat, and repeated as the RetryPolicy says: a request without an
  /// idempotency_key is given a random one.
  absl::StatusOr<density::v1::Training> Train(const density::v1::TrainRequest& request,
                                              const CallOptions& options = {}) const;
  absl::StatusOr<density::v1::Training> GetTraining(std::string_view id, const CallOptions& options = {}) const;
  /// Newest first; `model` empty: of all models.
  absl::StatusOr<std::vector<density::v1::Training>> ListTrainings(std::string_view model = "",
                                                                   const CallOptions& options = {}) const;

  /// Called with each state of a training; returns whether to go on watching.
  using OnTraining = std::function<bool(const density::v1::Training&)>;
  /// Follows a training: calls `on_training` with the current state and then with every change, and returns the last
  /// one when it is final or when `on_training` returned false. A lost connection is taken up again as the RetryPolicy
  /// says, also after a restart of the server; no state is reported twice. A training that failed is an OK answer whose
  /// state is FAILED.
  absl::StatusOr<density::v1::Training> Watch(std::string_view id, const OnTraining& on_training,
                                              const CallOptions& options = {}) const;
  /// Asks a training to stop. FAILED_PRECONDITION when it has ended.
  absl::StatusOr<density::v1::Training> Cancel(std::string_view id, const CallOptions& options = {}) const;

  // --- Datasets.

  /// Called while an upload runs, with the rows sent so far and all rows.
  using OnUpload = std::function<void(size_t rows_sent, size_t rows)>;
  /// Uploads rows (N, D + C) as a dataset. All or nothing: a failed upload leaves nothing.
  absl::StatusOr<density::v1::Dataset> Upload(RowsView<float> rows, const UploadOptions& options = {},
                                              const OnUpload& on_upload = nullptr) const;
  absl::StatusOr<density::v1::Dataset> Upload(RowsView<double> rows, const UploadOptions& options = {},
                                              const OnUpload& on_upload = nullptr) const;
  /// Begins an upload whose rows come piece by piece. The client must outlive it.
  absl::StatusOr<DatasetUpload> BeginUpload(const UploadOptions& options = {}) const;
  absl::StatusOr<density::v1::Dataset> GetDataset(std::string_view id, const CallOptions& options = {}) const;
  /// Newest first.
  absl::StatusOr<std::vector<density::v1::Dataset>> ListDatasets(const CallOptions& options = {}) const;
  absl::Status DeleteDataset(std::string_view id, const CallOptions& options = {}) const;

  // --- Models.

  /// All models with their versions and aliases, by name.
  absl::StatusOr<std::vector<density::v1::ModelInfo>> ListModels(const CallOptions& options = {}) const;
  absl::StatusOr<density::v1::ModelDetail> GetModel(std::string_view model, const CallOptions& options = {}) const;
  /// How a loaded version computes `op`: steps, work, memory and time. The first call for float64 makes that plan.
  absl::StatusOr<density::v1::PlanDetail> GetPlan(std::string_view model,
                                                  density::v1::RowOp op = density::v1::ROW_OP_LOG_PROB,
                                                  Precision precision = Precision::kFloat32,
                                                  const CallOptions& options = {}) const;
  /// Brings a version into memory and returns when it answers requests.
  absl::StatusOr<density::v1::VersionInfo> Load(std::string_view model, const CallOptions& options = {}) const;
  /// Takes a version out of memory; calls in flight finish on it.
  absl::StatusOr<density::v1::VersionInfo> Unload(std::string_view model, const CallOptions& options = {}) const;
  /// Deletes one version from disk. FAILED_PRECONDITION while it is loaded or an alias names it.
  absl::Status DeleteVersion(std::string_view name, uint64_t version, const CallOptions& options = {}) const;
  /// Points an alias at a version; with `expected_revision` only if the aliases are still at that revision (ABORTED).
  absl::StatusOr<density::v1::Aliases> SetAlias(std::string_view name, std::string_view alias, uint64_t version,
                                                std::optional<uint64_t> expected_revision = std::nullopt,
                                                const CallOptions& options = {}) const;
  absl::StatusOr<density::v1::Aliases> DeleteAlias(std::string_view name, std::string_view alias,
                                                   std::optional<uint64_t> expected_revision = std::nullopt,
                                                   const CallOptions& options = {}) const;

  /// Called with each piece of an archive; an error ends the call, which returns it.
  using OnPiece = std::function<absl::Status(std::string_view piece)>;
  /// One stored version as an archive, a tar (docs/model-format.md). The pieces make an archive only where the call is
  /// OK. Without a timeout of its own it has none.
  absl::Status Export(std::string_view model, const OnPiece& on_piece, const CallOptions& options = {}) const;
  /// Returns the next piece of an archive, valid until the next call, and an empty one at its end; an error ends the
  /// call.
  using NextPiece = std::function<absl::StatusOr<std::string_view>()>;
  /// Publishes the version of an archive under the next free number of the model `name` (empty: the archive's) and
  /// returns when it answers requests. All or nothing, and never repeated. Without a timeout of its own it has none.
  absl::StatusOr<density::v1::VersionInfo> Import(std::string_view name, const NextPiece& next_piece,
                                                  const CallOptions& options = {}) const;
  /// Makes the server take up what others changed in its folder, for one model or (empty) all.
  absl::StatusOr<density::v1::ReloadFromDiskResponse> ReloadFromDisk(std::string_view model = "",
                                                                     const CallOptions& options = {}) const;

  /// Whether the server (`service` empty) or one of its health service names, such as a model, is serving
  /// (grpc.health.v1). NOT_FOUND for a name that the server does not know.
  absl::StatusOr<Health> CheckHealth(std::string_view service = "", const CallOptions& options = {}) const;

  const ClientOptions& options() const;

 private:
  struct Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  template <RowNumber T>
  absl::StatusOr<density::v1::Dataset> UploadRows(RowsView<T> rows, const UploadOptions& options,
                                                  const OnUpload& on_upload) const;
  std::unique_ptr<Impl> impl_;
  friend class DatasetUpload;
  template <RowNumber T>
  friend class SampleStream;
  template <RowNumber T>
  friend class LogProbStream;
};

/// Rows on their way to a new dataset. Nothing remains of it unless Finish succeeded; destruction before that abandons
/// the upload. Not thread-safe.
class DatasetUpload {
 public:
  DatasetUpload(DatasetUpload&&) noexcept;
  DatasetUpload& operator=(DatasetUpload&&) noexcept;
  ~DatasetUpload();

  /// Sends rows (n, cols), in as many messages as they need; the same cols every time. An error ends the upload, and
  /// Append and Finish then return that error.
  absl::Status Append(RowsView<float> rows);
  absl::Status Append(RowsView<double> rows);
  /// Ends the upload and returns the dataset. Call once.
  absl::StatusOr<density::v1::Dataset> Finish();

 private:
  friend class Client;
  struct Impl;
  explicit DatasetUpload(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace densityd
