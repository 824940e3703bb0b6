// A training that is interrupted, at whatever point, ends with the same weights as one that is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "server/base/sha256.h"
#include "server/engine/philox.h"
#include "server/engine/weights.h"
#include "server/flow/spec.h"
#include "server/registry/model_store.h"
#include "server/training/columns.h"
#include "server/training/options.h"
#include "server/training/run_job.h"
#include "server/training/trainer.h"
#include "server/training/training_store.h"
#include "server/training/worker_lock.h"
#include "tests/base/faulty_file_system.h"
#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using density::v1::Preset;
using density::v1::SUCCEEDED;
using density::v1::Training;
using density::v1::TrainingOptions;
using density::v1::TrainingProgress;
using density::v1::TrainRequest;
using testing::ManagerFixture;
using testing::Recorder;
using testing::RunToEnd;

constexpr uint64_t kSteps = 40;

struct Problem {
  density::v1::FlowSpec spec;
  TrainingData data;
  TrainingOptions options;
};

std::vector<double> Values(size_t rows) {
  std::vector<double> values(rows * 3);
  engine::FillStandardNormal<double>(/*seed=*/5, 0, rows, 3, values.data());
  for (size_t i = 0; i < values.size(); i += 3) values[i] = values[i] * values[i + 1] + 2;
  return values;
}

// Everything that has a state: dropout draws random numbers, ActNorm starts from the data, and so on.
Problem Prepare(const std::string& trainer = "compiled") {
  const SourceData source = testing::SourceOf({600, 3, {}, Values(600)});
  Problem problem;
  problem.options.set_steps(kSteps);
  problem.options.set_batch_size(32);
  problem.options.set_validation_interval(7);
  problem.options.set_optimizer(TrainingOptions::ADAMW);
  problem.options.set_ema_decay(0.9);
  problem.options.set_warmup_steps(5);
  if (trainer == "libtorch") problem.options.set_trainer(TrainingOptions::LIBTORCH);
  TrainRequest request;
  request.add_context_columns("2");
  problem.data =
      PrepareData(source, SelectColumns(request, 3, {}).value(), problem.options, testing::Scratch()).value();
  Preset preset;
  preset.set_name("realnvp");
  preset.set_transforms(3);
  preset.add_hidden(16);
  preset.set_residual(true);
  preset.set_dropout(0.2);
  preset.set_actnorm(true);
  preset.set_learnt_base(true);
  problem.spec = flow::ExpandPreset(preset, 2, 1).value();
  problem.options = ResolveOptions(problem.options, problem.data.train.rows).value();
  return problem;
}

std::string HashOf(const std::vector<registry::Tensor>& tensors) {
  Sha256 hash;
  for (const registry::Tensor& tensor : tensors) {
    hash.Update(tensor.name);
    hash.Update(tensor.data);
  }
  return hash.HexDigest();
}

std::string HashOf(const TrainedFlow& trained) { return HashOf(engine::FlowToTensors(*trained.flow).value()); }

TrainerHooks Hooks() {
  TrainerHooks hooks;
  hooks.on_progress = [](const TrainingProgress&) {};
  hooks.stop = [] { return StopRequest::kNone; };
  return hooks;
}

absl::StatusOr<TrainedFlow> Train(const Problem& problem, const TrainerHooks& hooks, const TrainingStart& start = {}) {
  return TrainFlow(problem.spec, problem.data, problem.options, torch::kCPU, hooks, start);
}

// What a training leaves that is asked to suspend itself from its call number `call` of TrainerHooks::stop on: one for
// each step and each validation.
Checkpoint SuspendedAt(const Problem& problem, int call, const TrainingStart& start = {}) {
  Checkpoint saved;
  int calls = 0;
  TrainerHooks hooks = Hooks();
  hooks.stop = [&] { return calls++ >= call ? StopRequest::kSuspend : StopRequest::kNone; };
  hooks.save = [&](Checkpoint checkpoint) {
    saved = std::move(checkpoint);
    return absl::OkStatus();
  };
  EXPECT_TRUE(absl::IsAborted(Train(problem, hooks, start).status()));
  return saved;
}

class ResumeTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Trainers, ResumeTest, ::testing::Values("compiled", "libtorch"),
                         [](const auto& info) { return info.param; });

TEST_P(ResumeTest, FromAnyStepTheWeightsBecomeTheSame) {
  const Problem problem = Prepare(GetParam());
  const auto whole = Train(problem, Hooks());
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->report.trainer(), GetParam());
  for (const int call : {0, 1, 3, 7, 20, 44}) {
    TrainingStart start;
    start.checkpoint = SuspendedAt(problem, call);
    const uint64_t saved = start.checkpoint->state.step();
    const auto resumed = Train(problem, Hooks(), start);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(HashOf(*resumed), HashOf(*whole)) << "from step " << saved;
    EXPECT_EQ(resumed->validation_log_prob, whole->validation_log_prob);
    EXPECT_EQ(resumed->report.best_step(), whole->report.best_step());
    EXPECT_EQ(resumed->report.steps(), kSteps);
    EXPECT_EQ(resumed->report.curve_size(), whole->report.curve_size());
    EXPECT_EQ(resumed->report.resumes(), 1);
  }
}

TEST_P(ResumeTest, AnInterruptedResumptionIsResumed) {
  const Problem problem = Prepare(GetParam());
  const std::string whole = HashOf(*Train(problem, Hooks()));
  TrainingStart start;
  for (int i = 0; i < 4; ++i) {
    start.checkpoint = SuspendedAt(problem, /*call=*/2, start);
  }
  EXPECT_GE(start.checkpoint->state.step(), 6);
  const auto resumed = Train(problem, Hooks(), start);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(HashOf(*resumed), whole);
  EXPECT_EQ(resumed->report.resumes(), 4);
}

TEST_P(ResumeTest, OnOtherDataATrainingDoesNotGoOn) {
  Problem problem = Prepare(GetParam());
  TrainingStart start;
  start.checkpoint = SuspendedAt(problem, 3);
  problem.data.sha256 = std::string(64, '0');
  const absl::Status status = Train(problem, Hooks(), start).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("its data have changed"));
}

TEST_P(ResumeTest, ACheckpointOfAnotherFlowIsDataLoss) {
  const Problem problem = Prepare(GetParam());
  TrainingStart start;
  start.checkpoint = SuspendedAt(problem, 3);
  for (registry::Tensor& tensor : start.checkpoint->tensors) {
    const std::string name = tensor.name;
    tensor.name = "other";
    EXPECT_TRUE(absl::IsDataLoss(Train(problem, Hooks(), start).status())) << name;
    tensor.name = name;
  }
}

TEST_P(ResumeTest, AnErrorOfACheckpointDoesNotStopTheTraining) {
  Problem problem = Prepare(GetParam());
  const std::string whole = HashOf(*Train(problem, Hooks()));
  problem.options.set_checkpoint_interval_seconds(1e-9);
  int written = 0;
  TrainerHooks hooks = Hooks();
  hooks.save = [&](Checkpoint) -> absl::Status {
    if (++written % 2 == 0) return absl::ResourceExhaustedError("no space left");
    return absl::OkStatus();
  };
  uint64_t checkpoint_step = 0;
  hooks.on_progress = [&](const TrainingProgress& progress) { checkpoint_step = progress.checkpoint_step(); };
  EXPECT_EQ(HashOf(*Train(problem, hooks)), whole);
  EXPECT_EQ(written, kSteps);
  EXPECT_EQ(checkpoint_step, kSteps - 1);
}

TEST(CheckpointOfATrainerTest, GoesOnWithTheSameOne) {
  Problem problem = Prepare("libtorch");
  const std::string whole = HashOf(*Train(problem, Hooks()));
  TrainingStart start;
  start.checkpoint = SuspendedAt(problem, 3);
  problem.options.set_trainer(TrainingOptions::COMPILED);
  for (const char* name : {"libtorch", ""}) {  // before there was another one
    start.checkpoint->state.set_trainer(name);
    const auto resumed = Train(problem, Hooks(), start);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(HashOf(*resumed), whole);
  }
}

TEST(WarmStartTest, TheFlowAndItsWeightsAreTheStartAndNothingWorseIsReturned) {
  Problem problem = Prepare();
  const auto first = Train(problem, Hooks());
  ASSERT_TRUE(first.ok()) << first.status();
  TrainingStart start;
  start.weights = engine::FlowToTensors(*first->flow).value();
  problem.spec = first->flow->spec();
  problem.options.set_learning_rate(10);  // makes everything worse
  problem.options.set_max_nonfinite_steps(1000);
  problem.options.set_warmup_steps(0);
  problem.options.set_ema_decay(0);
  const auto second = Train(problem, Hooks(), start);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->report.best_step(), 0);
  EXPECT_EQ(HashOf(*second), HashOf(*first));
}

TEST(WarmStartTest, ATrainingGoesOnFromAPublishedVersion) {
  ManagerFixture fixture("training_worker");
  fixture.Open();
  TrainRequest request;
  request.set_model("first");
  request.mutable_preset()->set_name("maf");
  request.mutable_preset()->add_hidden(8);
  request.mutable_options()->set_steps(30);
  testing::SetRows(Values(400), 3, request);
  const Training first = RunToEnd(fixture.manager(), request);
  ASSERT_EQ(first.state(), SUCCEEDED) << first.error();
  request.set_warm_start("first");
  EXPECT_EQ(testing::BadField(fixture.manager().Start(request).status()), "warm_start");
  request.clear_flow();
  request.set_model("second");
  const Training second = RunToEnd(fixture.manager(), request);
  ASSERT_EQ(second.state(), SUCCEEDED) << second.error();
  EXPECT_EQ(second.warm_start(), "first@1");
  EXPECT_GE(second.report().validation_log_likelihood(), first.report().validation_log_likelihood());
  const auto models = registry::ModelStore::Open(fixture.files(), fixture.root(), /*clean_tmp=*/false).value();
  EXPECT_EQ(models.ReadManifest("second", 1)->provenance().warm_start(), "first@1");
  const std::vector<std::string> names = {"a", "b", "c"};
  request.mutable_columns()->Assign(names.begin(), names.end());
  request.set_model("named");
  ASSERT_EQ(RunToEnd(fixture.manager(), request).state(), SUCCEEDED);
  request.set_warm_start("named");
  request.mutable_columns()->SwapElements(0, 1);
  EXPECT_THAT(RunToEnd(fixture.manager(), request).error(),
              ::testing::HasSubstr("the version's column 0 is \"a\", that of the data \"b\""));
  request.set_warm_start("nobody");
  EXPECT_TRUE(absl::IsNotFound(fixture.manager().Start(request).status()));
  request.set_warm_start("first");
  request.add_feature_columns("a");
  EXPECT_EQ(testing::BadField(fixture.manager().Start(request).status()), "spec.features");
}

// Between two changes of the disk, at each of them: what the process was writing when it died goes with its training,
// and never lies where the server could take it for its own.
TEST(KillTest, WhateverItWasWritingIsCleanedAway) {
  ManagerFixture fixture("training_worker");
  FileSystem& files = FileSystem::Real();
  ASSERT_TRUE(registry::ModelStore::Open(files, fixture.root(), /*clean_tmp=*/true).ok());
  auto store = TrainingStore::Open(files, fixture.root()).value();
  TrainingJob job;
  job.set_id("training-1");
  job.set_device("cpu");
  job.set_inline_rows(true);
  job.mutable_request()->set_model("m");
  job.mutable_request()->set_alias("stable");
  job.mutable_request()->mutable_preset()->set_name("realnvp");
  job.mutable_request()->mutable_preset()->add_hidden(4);
  job.mutable_request()->mutable_options()->set_steps(2);
  job.mutable_request()->mutable_options()->set_threads(1);
  const std::vector<double> rows = Values(100);
  ASSERT_TRUE(store.Create(job, {rows.data(), NumberType::kFloat64, 100, 3}).ok());
  const std::string folder = fixture.TrainingFolder(job.id());
  int point = 0;
  for (;; ++point) {
    densityd::testing::FaultyFileSystem dying(files);
    dying.StopBefore(point);
    TrainerHooks hooks = Hooks();
    // Where the files fail once, it is not tried again: the process is dead.
    hooks.stop = [&] { return dying.reached() ? StopRequest::kSuspend : StopRequest::kNone; };
    const absl::StatusOr<Published> published = RunJob(dying, folder, job, RankPlace(), hooks);
    EXPECT_THAT(*files.List(fixture.root() + "/tmp"), ::testing::IsEmpty()) << "at point " << point;
    if (!dying.reached()) {
      ASSERT_TRUE(published.ok()) << published.status();
      break;
    }
  }
  EXPECT_GT(point, 15);
  EXPECT_THAT(*files.List(folder + "/tmp"), ::testing::IsEmpty());
  const auto models = registry::ModelStore::Open(files, fixture.root(), /*clean_tmp=*/false).value();
  EXPECT_THAT(models.Versions("m").value(), ::testing::ElementsAre(1));
  EXPECT_EQ(models.ReadAliases("m")->versions().at("stable"), 1);
}

// kill -9 at random points of the process's life. DENSITYD_KILL_POINTS says at how many.
TEST(KillTest, WhereverItIsKilledTheWeightsBecomeTheSame) {
  ManagerFixture fixture("training_worker");
  fixture.options.max_deaths = 1000;
  fixture.Open();
  TrainRequest request;
  request.set_model("killed");
  request.mutable_preset()->set_name("maf");
  request.mutable_preset()->add_hidden(16);
  request.mutable_options()->set_steps(6000);
  request.mutable_options()->set_batch_size(64);
  request.mutable_options()->set_checkpoint_interval_seconds(0.02);
  testing::SetRows(Values(1000), 3, request);
  const absl::Time begin = absl::Now();
  const Training whole = RunToEnd(fixture.manager(), request);
  const absl::Duration life = absl::Now() - begin;
  ASSERT_EQ(whole.state(), SUCCEEDED) << whole.error();
  const auto models = registry::ModelStore::Open(fixture.files(), fixture.root(), /*clean_tmp=*/false).value();
  const std::string expected = HashOf(models.Read("killed", 1)->tensors);

  const char* asked = std::getenv("DENSITYD_KILL_POINTS");
  const int points = asked == nullptr ? 10 : std::atoi(asked);
  // Some moments are those of a process that begins or has ended already: more of them are tried where too many are.
  const int most = 10 * points;
  std::vector<float> chances(most);
  engine::FillStandardNormal<float>(/*seed=*/absl::ToUnixNanos(begin), 0, most, 1, chances.data());
  int resumed = 0;
  int point = 0;
  for (; point < points || (resumed <= points / 4 && point < most); ++point) {
    const std::string id = fixture.manager().Start(request)->id();
    Recorder recorder;
    const auto token = fixture.manager().Watch(id, recorder.watcher());
    // A moment of its life: uniform, as the normal's distribution function maps it.
    absl::SleepFor(life * (0.5 * std::erfc(-chances[point] / std::sqrt(2.0))));
    const auto worker = FindLiveWorker(fixture.TrainingFolder(id));
    if (worker.ok() && worker->has_value()) kill((*worker)->pid, SIGKILL);
    const Training training = recorder.WaitForEnd();
    ASSERT_EQ(training.state(), SUCCEEDED) << training.error();
    EXPECT_EQ(HashOf(models.Read("killed", training.version())->tensors), expected)
        << "resumed " << training.resumes() << " times; " << training.interruption();
    resumed += training.resumes() > 0 ? 1 : 0;
  }
  EXPECT_EQ(models.Versions("killed")->size(), 1 + point);
  RecordProperty("resumed", resumed);
  EXPECT_GT(resumed, points / 4);
}

}  // namespace
}  // namespace densityd::training
