#include "server/training/run_job.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "ATen/Parallel.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/base/token.h"
#include "server/registry/model_store.h"
#include "server/training/checkpoint.h"
#include "server/training/columns.h"
#include "server/training/fit_columns.h"
#include "server/training/learner.h"
#include "server/training/options.h"
#include "server/training/outcome.h"
#include "server/training/publish.h"
#include "server/training/request_check.h"
#include "server/training/training_data.h"
#include "server/training/training_store.h"
#include "server/training/warm_start.h"

namespace densityd::training {
namespace {

// In the temporary folder: what the ranks of a training know, and strangers do not.
constexpr char kRankTokenFile[] = "/rank-token";
constexpr uint64_t kMaxTokenBytes = 1024;

std::string RootOf(const std::string& folder) { return std::filesystem::path(folder).parent_path().parent_path(); }

// The store that the job publishes to. What an earlier process of this training left half-written goes.
absl::StatusOr<registry::ModelStore> OpenModels(FileSystem& files, const std::string& folder) {
  absl::StatusOr<registry::ModelStore> models = registry::ModelStore::Open(files, RootOf(folder), /*clean_tmp=*/false);
  if (!models.ok()) return models;
  const std::string temporary = folder + kTemporaryFolder;
  if (absl::Status status = files.RemoveRecursively(temporary); !status.ok()) return status;
  if (absl::Status status = files.MakeFolder(temporary); !status.ok()) return status;
  models->UseTemporaryFolder(temporary);
  return models;
}

// The data of a job, what is to be learnt from them, and how.
struct PreparedJob {
  SourceData source;
  ColumnSelection columns;
  FileStamp stamp;  // of the source before it was read
  TrainingData data;
  density::v1::FlowSpec spec;
  density::v1::TrainingOptions options;
};

absl::StatusOr<PreparedJob> Prepare(FileSystem& files, const std::string& folder, const TrainingJob& job,
                                    const std::string& scratch) {
  absl::StatusOr<SourceData> source = OpenSource(files, job, folder);
  if (!source.ok()) return source.status();
  const absl::StatusOr<FileStamp> stamp = source->rows->Stamp();
  if (!stamp.ok()) return stamp.status();
  absl::StatusOr<ColumnSelection> columns = SelectColumns(job.request(), source->rows->cols(), source->rows->columns());
  if (!columns.ok()) return columns.status();
  absl::StatusOr<density::v1::FlowSpec> spec = ResolveSpec(job.request(), *columns);
  if (!spec.ok()) return spec.status();
  absl::StatusOr<TrainingData> data = PrepareData(*source, *columns, job.request().options(), {&files, scratch},
                                                  MissingContext(*spec), DequantisedColumns(*spec));
  if (!data.ok()) return data.status();
  if (absl::Status status = FitColumns(*data, *spec); !status.ok()) return status;
  absl::StatusOr<density::v1::TrainingOptions> options = ResolveOptions(job.request().options(), data->train.rows);
  if (!options.ok()) return options.status();
  return PreparedJob{*std::move(source), *std::move(columns), *stamp,
                     *std::move(data),   *std::move(spec),    *std::move(options)};
}

// Where the job's training begins: at its newest checkpoint, or with the weights of a version, or anew.
absl::StatusOr<TrainingStart> FindStart(const CheckpointStore& checkpoints, const registry::ModelStore& models,
                                        const TrainingJob& job, const TrainingData& data) {
  TrainingStart start;
  absl::StatusOr<std::optional<Checkpoint>> checkpoint = checkpoints.ReadNewest();
  if (!checkpoint.ok()) return checkpoint.status();
  start.checkpoint = *std::move(checkpoint);
  if (start.checkpoint.has_value() || job.warm_start_model().empty()) return start;
  absl::StatusOr<registry::StoredVersion> version = models.Read(job.warm_start_model(), job.warm_start_version());
  if (!version.ok()) return Annotate(version.status(), "warm_start");
  if (absl::Status status = CheckSameColumns(version->manifest.schema(), data.schema); !status.ok()) return status;
  start.weights = std::move(version->tensors);
  return start;
}

// What the ranks of a training must have in common.
std::string AgreementOf(const TrainingJob& job, const PreparedJob& prepared, const TrainingStart& start) {
  return absl::StrCat("training ", job.id(), ", data ", prepared.data.sha256, ", step ",
                      start.checkpoint.has_value() ? start.checkpoint->state.step() : 0);
}

RankJoin JoinOf(const RankPlace& place, std::string agreement, const TrainerHooks& hooks) {
  RankJoin join;
  join.place = place;
  join.agreement = std::move(agreement);
  join.is_stopped = [&hooks] { return hooks.stop() != StopRequest::kNone; };
  return join;
}

// Why a rank that was to stop has not found the others.
absl::Status Stopped(const TrainerHooks& hooks) {
  if (hooks.stop() == StopRequest::kCancel) return TrainingCancelled();
  return absl::AbortedError("the training was suspended before all ranks had come");
}

// As rank 0. Null where it is the only one.
absl::StatusOr<std::unique_ptr<Ranks>> GatherRanks(FileSystem& files, const std::string& folder, RankJoin join,
                                                   const TrainerHooks& hooks) {
  if (join.place.world_size == 1) return nullptr;
  join.token = NewToken();
  absl::Status status = WriteFileAtomically(files, folder + kTemporaryFolder + kRankTokenFile, join.token);
  if (!status.ok()) return status;
  Log(LogLevel::kInfo, "waits for the other ranks",
      {{"ranks", join.place.world_size}, {"address", join.place.master_address}, {"port", join.place.master_port}});
  absl::StatusOr<std::unique_ptr<Ranks>> ranks = Ranks::Join(join);
  if (absl::IsCancelled(ranks.status())) return Stopped(hooks);
  return ranks;
}

// As another rank, which may come before rank 0 has written its token, or find that of a process that died.
absl::StatusOr<std::unique_ptr<Ranks>> JoinRanks(FileSystem& files, const std::string& folder, RankJoin join,
                                                 const TrainerHooks& hooks) {
  const absl::Time deadline = absl::Now() + join.join_timeout;
  while (true) {
    const absl::StatusOr<std::string> token = files.Read(folder + kTemporaryFolder + kRankTokenFile, kMaxTokenBytes);
    absl::Status status = token.status();
    if (token.ok()) {
      join.token = *token;
      join.join_timeout = deadline - absl::Now();
      absl::StatusOr<std::unique_ptr<Ranks>> ranks = Ranks::Join(join);
      if (ranks.ok()) return ranks;
      status = ranks.status();
    }
    if (absl::IsCancelled(status) || hooks.stop() != StopRequest::kNone) return Stopped(hooks);
    const bool passes = absl::IsUnavailable(status) || absl::IsNotFound(status);
    if (!passes || absl::Now() > deadline) return status;
    absl::SleepFor(absl::Milliseconds(200));
  }
}

void LogBegin(const TrainingJob& job, const PreparedJob& prepared, const TrainingStart& start) {
  Log(LogLevel::kInfo, "training begins",
      {{"train_rows", prepared.data.train.rows},
       {"validation_rows", prepared.data.validation.rows},
       {"features", prepared.data.features},
       {"steps", prepared.options.steps()},
       {"from_step", start.checkpoint.has_value() ? start.checkpoint->state.step() : 0},
       {"device", job.device()}});
}

absl::StatusOr<TrainedFlow> TrainPrepared(const TrainingJob& job, const PreparedJob& prepared,
                                          const TrainerHooks& hooks, const TrainingStart& start) {
  at::set_num_threads(static_cast<int>(prepared.options.threads()));
  LogBegin(job, prepared, start);
  return TrainFlow(prepared.spec, prepared.data, prepared.options, torch::Device(job.device()), hooks, start);
}

absl::Status MoveAlias(registry::ModelStore& models, const density::v1::TrainRequest& request, uint64_t version) {
  if (request.alias().empty()) return absl::OkStatus();
  const absl::Status status =
      models.SetAlias(request.model(), request.alias(), version, /*expected_revision=*/std::nullopt).status();
  return Annotate(status, absl::StrCat("version ", version, " was published, but the alias was not moved"));
}

// Does `work` until it fails by something that does not pass, or the training is to end. A full disk passes, and one
// that does not answer; the training would end with all that it has learnt. While it waits it is stalled, and its
// status says so.
absl::Status UntilThereIsRoom(const TrainerHooks& hooks, const std::string& what,
                              const std::function<absl::Status()>& work) {
  constexpr absl::Duration kLook = absl::Milliseconds(200);
  constexpr absl::Duration kLongestWait = absl::Seconds(30);
  for (absl::Duration wait = absl::Seconds(1);; wait = std::min(2 * wait, kLongestWait)) {
    absl::Status status = work();
    if (!absl::IsResourceExhausted(status) && !absl::IsUnavailable(status)) return status;
    Log(LogLevel::kError, what + " yet; it is tried again",
        {{"seconds", absl::ToDoubleSeconds(wait)}, {"error", ToStd(status.message())}});
    for (absl::Duration waited; waited < wait; waited += kLook) {
      switch (hooks.stop()) {
        case StopRequest::kNone:
          break;
        case StopRequest::kCancel:
          return absl::CancelledError(absl::StrCat("the training was cancelled; ", what));
        case StopRequest::kSuspend:
          return absl::AbortedError(absl::StrCat("the training was suspended; ", what));
      }
      absl::SleepFor(kLook);
    }
  }
}

}  // namespace

absl::StatusOr<Published> RunJob(FileSystem& files, const std::string& folder, const TrainingJob& job,
                                 const RankPlace& place, const TrainerHooks& hooks) {
  absl::StatusOr<registry::ModelStore> models = OpenModels(files, folder);
  if (!models.ok()) return models.status();
  absl::StatusOr<std::optional<Published>> before = FindPublished(*models, job);
  if (!before.ok()) return before.status();
  Published published;
  if (before->has_value()) {
    published = **before;
  } else {
    absl::StatusOr<PreparedJob> prepared;
    absl::Status status = UntilThereIsRoom(hooks, "the rows cannot be copied", [&] {
      prepared = Prepare(files, folder, job, folder + kTemporaryFolder);
      return prepared.status();
    });
    if (!status.ok()) return status;
    CheckpointStore checkpoints(files, folder);
    absl::StatusOr<TrainingStart> start = FindStart(checkpoints, *models, job, prepared->data);
    if (!start.ok()) return start.status();
    DataWatch watch(prepared->source, prepared->columns, prepared->data.sha256, prepared->stamp);
    const absl::StatusOr<std::unique_ptr<Ranks>> ranks =
        GatherRanks(files, folder, JoinOf(place, AgreementOf(job, *prepared, *start), hooks), hooks);
    if (!ranks.ok()) return ranks.status();
    TrainerHooks saving = hooks;
    saving.ranks = ranks->get();
    saving.check_data = [&] { return watch.Check(); };
    saving.save = [&](Checkpoint checkpoint) { return checkpoints.Write(std::move(checkpoint)); };
    const std::vector<std::string> choices = DescribeChoices(prepared->spec);
    for (const std::string& choice : choices) Log(LogLevel::kInfo, "column preprocessing", {{"column", choice}});
    absl::StatusOr<TrainedFlow> trained = TrainPrepared(job, *prepared, saving, *start);
    if (!trained.ok()) return trained.status();
    trained->report.mutable_preprocessing()->Add(choices.begin(), choices.end());
    absl::StatusOr<uint64_t> version;
    status = UntilThereIsRoom(hooks, "what was learnt cannot be published", [&] {
      version = PublishModel(*models, job, *trained, prepared->data, prepared->source.description);
      return version.status();
    });
    if (!status.ok()) return status;
    published.set_version(*version);
    *published.mutable_report() = trained->report;
  }
  const absl::Status moved = UntilThereIsRoom(hooks, "the alias cannot be moved",
                                              [&] { return MoveAlias(*models, job.request(), published.version()); });
  if (!moved.ok()) return moved;
  return published;
}

absl::Status RunRank(FileSystem& files, const std::string& folder, const TrainingJob& job, const RankPlace& place,
                     const TrainerHooks& hooks) {
  absl::StatusOr<registry::ModelStore> models = registry::ModelStore::Open(files, RootOf(folder), /*clean_tmp=*/false);
  if (!models.ok()) return models.status();
  const absl::StatusOr<PreparedJob> prepared = Prepare(files, folder, job, std::filesystem::temp_directory_path());
  if (!prepared.ok()) return prepared.status();
  const CheckpointStore checkpoints(files, folder);
  const absl::StatusOr<TrainingStart> start = FindStart(checkpoints, *models, job, prepared->data);
  if (!start.ok()) return start.status();
  const absl::StatusOr<std::unique_ptr<Ranks>> ranks =
      JoinRanks(files, folder, JoinOf(place, AgreementOf(job, *prepared, *start), hooks), hooks);
  if (!ranks.ok()) return ranks.status();
  TrainerHooks training = hooks;
  training.ranks = ranks->get();
  return TrainPrepared(job, *prepared, training, *start).status();
}

}  // namespace densityd::training
