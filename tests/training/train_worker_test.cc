// The manager with the real training process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "server/engine/philox.h"
#include "server/registry/model_store.h"
#include "server/training/training_manager.h"
#include "server/training/training_store.h"
#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using density::v1::CANCELLED;
using density::v1::FAILED;
using density::v1::SUCCEEDED;
using density::v1::Training;
using density::v1::TrainRequest;
using ::testing::HasSubstr;
using testing::ManagerFixture;
using testing::Recorder;
using testing::RunToEnd;

class TrainWorkerTest : public ::testing::Test {
 protected:
  TrainWorkerTest() : fixture_("training_worker") {
    fixture_.options.data_root = fixture_.root() + "/data";
    fixture_.Open();
  }

  static TrainRequest Request(uint64_t steps) {
    std::vector<double> values(2 * 2000);
    engine::FillStandardNormal<double>(/*seed=*/3, 0, 2000, 2, values.data());
    TrainRequest request;
    request.set_model("waves");
    request.mutable_preset()->set_name("maf");
    request.mutable_preset()->add_hidden(16);
    request.add_columns("left");
    request.add_columns("right");
    request.mutable_options()->set_steps(steps);
    request.mutable_options()->set_batch_size(64);
    testing::SetRows(values, 2, request);
    return request;
  }

  TrainingManager& manager() { return fixture_.manager(); }

  registry::ModelStore Models() {
    return registry::ModelStore::Open(fixture_.files(), fixture_.root(), /*clean_tmp=*/false).value();
  }

  ManagerFixture fixture_;
};

TEST_F(TrainWorkerTest, APublishedVersionHoldsEverythingThatIsKnownOfIt) {
  TrainRequest request = Request(200);
  request.set_alias("stable");
  const Training training = RunToEnd(manager(), request);
  ASSERT_EQ(training.state(), SUCCEEDED) << training.error();
  EXPECT_EQ(training.version(), 1);
  EXPECT_EQ(training.progress().step(), 200);
  EXPECT_NEAR(training.report().validation_log_likelihood(), -2.8379, 0.3);

  const auto version = Models().Read("waves", 1);
  ASSERT_TRUE(version.ok()) << version.status();
  const density::v1::ModelManifest& manifest = version->manifest;
  EXPECT_EQ(manifest.report().SerializeAsString(), training.report().SerializeAsString());
  EXPECT_EQ(manifest.schema().features(1).name(), "right");
  EXPECT_EQ(manifest.calibration().rows(), 200);
  EXPECT_EQ(manifest.provenance().training_id(), training.id());
  EXPECT_EQ(manifest.provenance().data(), "inline");
  EXPECT_EQ(manifest.provenance().data_sha256().size(), 64);
  EXPECT_EQ(manifest.provenance().preset().name(), "maf");
  EXPECT_FALSE(manifest.provenance().densityd_version().empty());
  EXPECT_FALSE(manifest.provenance().libtorch_version().empty());
  EXPECT_FALSE(version->tensors.empty());
  EXPECT_EQ(Models().ReadAliases("waves")->versions().at("stable"), 1);
}

TEST_F(TrainWorkerTest, TheSameRequestGivesTheSameWeights) {
  for (int i = 0; i < 2; ++i) ASSERT_EQ(RunToEnd(manager(), Request(30)).state(), SUCCEEDED);
  const auto first = Models().Read("waves", 1);
  const auto second = Models().Read("waves", 2);
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_EQ(first->tensors.size(), second->tensors.size());
  for (size_t i = 0; i < first->tensors.size(); ++i) {
    EXPECT_EQ(first->tensors[i].data, second->tensors[i].data) << first->tensors[i].name;
  }
}

TEST_F(TrainWorkerTest, ARunningTrainingCanBeCancelledAndPublishesNothing) {
  const auto training = manager().Start(Request(10'000'000));
  ASSERT_TRUE(training.ok()) << training.status();
  Recorder recorder;
  const auto token = manager().Watch(training->id(), recorder.watcher());
  recorder.WaitForStep();
  ASSERT_TRUE(manager().Cancel(training->id()).ok());
  EXPECT_EQ(recorder.WaitForEnd().state(), CANCELLED);
  EXPECT_TRUE(absl::IsNotFound(Models().Versions("waves").status()));
}

TEST_F(TrainWorkerTest, AProcessThatIsKilledAgainAndAgainFailsItsTrainingAndTheNextOneRuns) {
  fixture_.options.max_deaths = 2;
  fixture_.Open();
  const auto training = manager().Start(Request(10'000'000));
  ASSERT_TRUE(training.ok()) << training.status();
  Recorder recorder;
  const auto token = manager().Watch(training->id(), recorder.watcher());
  for (uint32_t resumes = 0; resumes < 2; ++resumes) {
    recorder.WaitFor(
        [&](const Training& state) { return state.state() == density::v1::RUNNING && state.resumes() == resumes; });
    const pid_t worker = testing::WaitForWorker(fixture_.TrainingFolder(training->id()));
    ASSERT_GT(worker, 0);
    kill(worker, SIGKILL);
  }
  const Training failed = recorder.WaitForEnd();
  EXPECT_EQ(failed.state(), FAILED);
  EXPECT_THAT(failed.error(), HasSubstr("SIGKILL"));
  EXPECT_THAT(failed.error(), HasSubstr("memory"));
  EXPECT_EQ(RunToEnd(manager(), Request(5)).state(), SUCCEEDED);
}

TEST_F(TrainWorkerTest, AStoppedServerLeavesACheckpointAndTheNextGoesOnFromIt) {
  TrainRequest request = Request(2000);
  request.mutable_options()->set_checkpoint_interval_seconds(0);
  const auto training = manager().Start(request);
  ASSERT_TRUE(training.ok()) << training.status();
  Recorder recorder;
  const auto token = manager().Watch(training->id(), recorder.watcher());
  recorder.WaitForStep();
  fixture_.Close();
  const Training suspended = recorder.seen().back();
  EXPECT_EQ(suspended.state(), density::v1::QUEUED);
  EXPECT_GT(suspended.progress().checkpoint_step(), 0);
  EXPECT_EQ(suspended.progress().checkpoint_step(), suspended.progress().step());
  fixture_.Open();
  Recorder next;
  const auto next_token = manager().Watch(training->id(), next.watcher());
  const Training ended = next.WaitForEnd();
  ASSERT_EQ(ended.state(), SUCCEEDED) << ended.error();
  EXPECT_EQ(ended.report().resumes(), 1);
  EXPECT_EQ(ended.report().steps(), 2000);
  EXPECT_FALSE(*fixture_.files().Exists(fixture_.TrainingFolder(training->id()) + "/checkpoints"));
}

TEST_F(TrainWorkerTest, AnAllocationBeyondTheMemoryLimitFailsWithTheLimit) {
  TrainRequest request = Request(5);
  request.mutable_limits()->set_memory_bytes(uint64_t{400} << 20);
  request.mutable_preset()->clear_hidden();
  request.mutable_preset()->add_hidden(8192);
  request.mutable_preset()->add_hidden(8192);
  const Training failed = RunToEnd(manager(), request);
  EXPECT_EQ(failed.state(), FAILED);
  EXPECT_EQ(failed.error_code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(failed.error(), HasSubstr("limits.memory_bytes"));
}

// 5,000,000 rows of 8 columns are 160 MB in float32, and 320 MB as they are kept.
TEST_F(TrainWorkerTest, RowsNeedNotFitIntoMemory) {
  constexpr size_t kChunkRows = 100'000;
  constexpr size_t kColumns = 8;
  std::vector<float> chunk(kChunkRows * kColumns);
  auto upload = fixture_.datasets().Create("", {});
  for (uint64_t first = 0; first < 5'000'000; first += kChunkRows) {
    engine::FillStandardNormal<float>(/*seed=*/3, first, kChunkRows, kColumns, chunk.data());
    ASSERT_TRUE((*upload)->Append({chunk.data(), NumberType::kFloat32, kChunkRows, kColumns}).ok());
  }
  TrainRequest request = Request(50);
  request.clear_columns();
  request.set_dataset((*upload)->Commit()->id());
  request.mutable_options()->set_validation_fraction(0.01);
  for (const auto trainer : {density::v1::TrainingOptions::COMPILED, density::v1::TrainingOptions::LIBTORCH}) {
    request.mutable_options()->set_trainer(trainer);
    request.clear_limits();
    const Training free = RunToEnd(manager(), request);
    ASSERT_EQ(free.state(), SUCCEEDED) << free.error();
    request.mutable_limits()->set_memory_bytes(uint64_t{150} << 20);
    const Training limited = RunToEnd(manager(), request);
    ASSERT_EQ(limited.state(), SUCCEEDED) << limited.error();
    const auto first = Models().Read("waves", free.version());
    const auto second = Models().Read("waves", limited.version());
    for (size_t i = 0; i < first->tensors.size(); ++i) {
      EXPECT_EQ(first->tensors[i].data, second->tensors[i].data) << first->tensors[i].name;
    }
  }
}

class ChangedFileTest : public TrainWorkerTest {
 protected:
  ChangedFileTest() {
    Write(0);
    request_.clear_columns();
    request_.set_file("rows.npy");
    request_.mutable_options()->set_validation_interval(1);
  }

  // Rows that depend on `seed`, `rows` of them. At once: a training that looks meanwhile would find half a file.
  void Write(uint64_t seed, size_t rows = 2000) {
    Table table{rows, 2, {}, std::vector<double>(2 * rows)};
    engine::FillStandardNormal<double>(seed, 0, rows, 2, table.values.data());
    const std::string file = fixture_.root() + "/data/rows.npy";
    densityd::testing::WriteFile(file + ".new", FormatNpy(table));
    std::filesystem::rename(file + ".new", file);
  }

  // Trains until the first step, calls `change`, and waits for the end.
  Training ChangeMeanwhile(const std::function<void()>& change) {
    const auto training = manager().Start(request_);
    EXPECT_TRUE(training.ok()) << training.status();
    Recorder recorder;
    const auto token = manager().Watch(training->id(), recorder.watcher());
    recorder.WaitForStep();
    change();
    return recorder.WaitForEnd();
  }

  TrainRequest request_ = Request(10'000'000);
};

TEST_F(ChangedFileTest, OtherRowsFailTheTraining) {
  const Training failed = ChangeMeanwhile([&] { Write(1); });
  EXPECT_EQ(failed.state(), FAILED);
  EXPECT_EQ(failed.error_code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(failed.error(),
              HasSubstr("the data (file:rows.npy) have changed since the training began: their SHA-256"));
}

TEST_F(ChangedFileTest, AFileThatIsCutShortFailsTheTrainingAndKillsNobody) {
  const Training failed =
      ChangeMeanwhile([&] { std::filesystem::resize_file(fixture_.root() + "/data/rows.npy", 20'000); });
  EXPECT_EQ(failed.state(), FAILED);
  EXPECT_THAT(failed.error(), HasSubstr("have changed since the training began: file: rows.npy: is cut short"));
}

TEST_F(ChangedFileTest, AFileThatIsGoneFailsTheTraining) {
  const Training failed = ChangeMeanwhile([&] { std::filesystem::remove(fixture_.root() + "/data/rows.npy"); });
  EXPECT_EQ(failed.state(), FAILED);
  EXPECT_THAT(failed.error(), HasSubstr("there is no file \"rows.npy\""));
}

TEST_F(ChangedFileTest, TheSameRowsWrittenAnewDoNot) {
  request_.mutable_options()->set_steps(200);
  EXPECT_EQ(ChangeMeanwhile([&] { Write(0); }).state(), SUCCEEDED);
}

// A server whose trainings are the first of two ranks; the tests start the second one.
class TwoRanksTest : public TrainWorkerTest {
 protected:
  TwoRanksTest() {
    setenv("WORLD_SIZE", "2", 1);
    setenv("MASTER_ADDR", "127.0.0.1", 1);
    setenv("MASTER_PORT", std::to_string(testing::FreePort()).c_str(), 1);
  }
  ~TwoRanksTest() override { BeAlone(); }

  static void BeAlone() {
    for (const char* name : {"WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}) unsetenv(name);
  }

  static TrainRequest Request(uint64_t steps) {
    TrainRequest request = TrainWorkerTest::Request(steps);
    // Whatever depends on a row's place in the batch.
    request.mutable_preset()->set_residual(true);
    request.mutable_preset()->set_dropout(0.1);
    request.mutable_options()->set_ema_decay(0.9);
    request.mutable_options()->set_batch_size(301);
    return request;
  }

  // The second rank of the training in `folder`.
  static pid_t StartRank(const std::string& folder) {
    const std::string program = testing::TestProgram("training_worker");
    const pid_t rank = fork();
    if (rank == 0) {
      setenv("RANK", "1", 1);
      execl(program.c_str(), program.c_str(), "train-worker", folder.c_str(), nullptr);
      _exit(127);
    }
    return rank;
  }

  static int ExitCodeOf(pid_t process) {
    int status = 0;
    waitpid(process, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  // Trains by both.
  Training TrainTogether(const TrainRequest& request) {
    const auto training = manager().Start(request);
    EXPECT_TRUE(training.ok()) << training.status();
    Recorder recorder;
    const auto token = manager().Watch(training->id(), recorder.watcher());
    const pid_t rank = StartRank(fixture_.TrainingFolder(training->id()));
    const Training ended = recorder.WaitForEnd();
    EXPECT_EQ(ended.state(), SUCCEEDED) << ended.error();
    EXPECT_EQ(ExitCodeOf(rank), 0);
    return ended;
  }

  std::vector<float> WeightsOf(uint64_t version) {
    std::vector<float> weights;
    const auto stored = Models().Read("waves", version);
    for (const registry::Tensor& tensor : stored->tensors) {
      if (tensor.dtype != registry::DType::kF32) continue;
      const size_t begin = weights.size();
      weights.resize(begin + tensor.data.size() / sizeof(float));
      std::memcpy(weights.data() + begin, tensor.data.data(), tensor.data.size());
    }
    return weights;
  }
};

TEST_F(TwoRanksTest, LearnWhatOneLearnsAndRepeatItBitForBit) {
  const Training first = TrainTogether(Request(20));
  const Training second = TrainTogether(Request(20));
  BeAlone();
  const Training alone = RunToEnd(manager(), Request(20));
  ASSERT_EQ(alone.state(), SUCCEEDED) << alone.error();
  const std::vector<float> weights = WeightsOf(first.version());
  const std::vector<float> of_one = WeightsOf(alone.version());
  ASSERT_EQ(weights.size(), of_one.size());
  EXPECT_EQ(weights, WeightsOf(second.version()));
  double difference = 0;
  double square = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    difference += std::pow(weights[i] - of_one[i], 2);
    square += std::pow(weights[i], 2);
  }
  EXPECT_LE(std::sqrt(difference / square), 1e-5);
  EXPECT_NEAR(first.report().validation_log_likelihood(), alone.report().validation_log_likelihood(), 1e-4);
}

TEST_F(TwoRanksTest, StopTogetherAndGoOnTogether) {
  TrainRequest request = Request(3000);
  request.mutable_options()->set_checkpoint_interval_seconds(0);
  const auto training = manager().Start(request);
  ASSERT_TRUE(training.ok()) << training.status();
  Recorder recorder;
  const auto token = manager().Watch(training->id(), recorder.watcher());
  pid_t rank = StartRank(fixture_.TrainingFolder(training->id()));
  recorder.WaitForStep();
  fixture_.Close();
  EXPECT_EQ(ExitCodeOf(rank), 5);
  fixture_.Open();
  Recorder next;
  const auto next_token = manager().Watch(training->id(), next.watcher());
  rank = StartRank(fixture_.TrainingFolder(training->id()));
  const Training ended = next.WaitForEnd();
  ASSERT_EQ(ended.state(), SUCCEEDED) << ended.error();
  EXPECT_EQ(ExitCodeOf(rank), 0);
  EXPECT_EQ(ended.report().resumes(), 1);
  const Training undisturbed = TrainTogether(request);
  EXPECT_EQ(WeightsOf(ended.version()), WeightsOf(undisturbed.version()));
}

TEST_F(TwoRanksTest, OneThatDiesFailsTheTrainingAndSaysSo) {
  const auto training = manager().Start(Request(10'000'000));
  ASSERT_TRUE(training.ok()) << training.status();
  Recorder recorder;
  const auto token = manager().Watch(training->id(), recorder.watcher());
  const pid_t rank = StartRank(fixture_.TrainingFolder(training->id()));
  recorder.WaitForStep();
  kill(rank, SIGKILL);
  const Training failed = recorder.WaitForEnd();
  ExitCodeOf(rank);
  EXPECT_EQ(failed.state(), FAILED);
  EXPECT_EQ(failed.error_code(), static_cast<int>(absl::StatusCode::kUnavailable));
  EXPECT_EQ(failed.error(), "rank 1 of 2 has ended; its own log says why");
}

TEST_F(TwoRanksTest, OneEndsWhereTheFirstDies) {
  fixture_.options.max_deaths = 1;
  fixture_.Open();
  const auto training = manager().Start(Request(10'000'000));
  ASSERT_TRUE(training.ok()) << training.status();
  Recorder recorder;
  const auto token = manager().Watch(training->id(), recorder.watcher());
  const pid_t rank = StartRank(fixture_.TrainingFolder(training->id()));
  recorder.WaitForStep();
  kill(testing::WaitForWorker(fixture_.TrainingFolder(training->id())), SIGKILL);
  EXPECT_EQ(ExitCodeOf(rank), 1);
  EXPECT_EQ(recorder.WaitForEnd().state(), FAILED);
}

TEST_F(TwoRanksTest, WhatIsNotCompiledIsTrainedByOneOnly) {
  TrainRequest request = Request(20);
  request.mutable_options()->set_trainer(density::v1::TrainingOptions::LIBTORCH);
  const auto training = manager().Start(request);
  ASSERT_TRUE(training.ok()) << training.status();
  Recorder recorder;
  const auto token = manager().Watch(training->id(), recorder.watcher());
  const pid_t rank = StartRank(fixture_.TrainingFolder(training->id()));
  EXPECT_THAT(recorder.WaitForEnd().error(), HasSubstr("several ranks (WORLD_SIZE) train compiled steps only"));
  EXPECT_EQ(ExitCodeOf(rank), 1);
}

TEST_F(TwoRanksTest, AnEnvironmentThatIsWrongIsTheTrainingsError) {
  setenv("MASTER_PORT", "none", 1);
  EXPECT_THAT(RunToEnd(manager(), Request(5)).error(), HasSubstr("MASTER_PORT: is \"none\""));
}

TEST_F(TrainWorkerTest, DatasetsAndFilesAreTrainedOn) {
  const TrainRequest inline_request = Request(5);
  const std::string& bytes = inline_request.rows().f64_le();
  auto upload = fixture_.datasets().Create("", {"left", "right"});
  ASSERT_TRUE((*upload)->Append({bytes.data(), NumberType::kFloat64, 2000, 2}).ok());
  TrainRequest request = inline_request;
  request.set_dataset((*upload)->Commit()->id());
  const std::string dataset = request.dataset();
  ASSERT_EQ(RunToEnd(manager(), inline_request).state(), SUCCEEDED);
  ASSERT_EQ(RunToEnd(manager(), request).state(), SUCCEEDED);

  Table table{2000, 2, {"left", "right"}, std::vector<double>(4000)};
  std::memcpy(table.values.data(), bytes.data(), bytes.size());
  densityd::testing::WriteFile(fixture_.root() + "/data/sub/rows.csv", FormatCsv(table));
  densityd::testing::WriteFile(fixture_.root() + "/data/rows.npy", FormatNpy(table));
  for (const char* file : {"sub/rows.csv", "rows.npy"}) {
    request.set_file(file);
    const Training training = RunToEnd(manager(), request);
    ASSERT_EQ(training.state(), SUCCEEDED) << training.error();
  }
  // The same rows by four ways: the same digest and the same weights.
  const std::vector<std::string> sources = {"inline", "dataset:" + dataset, "file:sub/rows.csv", "file:rows.npy"};
  const auto first = Models().Read("waves", 1);
  for (uint64_t version = 1; version <= 4; ++version) {
    const auto stored = Models().Read("waves", version);
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_EQ(stored->manifest.provenance().data(), sources[version - 1]);
    EXPECT_EQ(stored->manifest.provenance().data_sha256(), first->manifest.provenance().data_sha256());
    EXPECT_EQ(stored->tensors[0].data, first->tensors[0].data);
  }
}

TEST_F(TrainWorkerTest, PreprocessingWithoutNamesIsByPlaceInAFile) {
  Table table{100, 3, {"a", "b", "c"}, std::vector<double>(300)};
  for (size_t i = 0; i < table.values.size(); ++i) table.values[i] = static_cast<double>(i * i % 7 + i % 3);
  densityd::testing::WriteFile(fixture_.root() + "/data/three.npy", FormatNpy(table));
  TrainRequest request = Request(2);
  request.clear_columns();
  request.set_file("three.npy");
  for (int i = 0; i < 3; ++i) {
    request.mutable_preset()->mutable_preprocessing()->add_columns()->set_kind(
        density::v1::ColumnPreprocessing::INTEGER);
  }
  const Training training = RunToEnd(manager(), request);
  ASSERT_EQ(training.state(), SUCCEEDED) << training.error();
  request.mutable_preset()->mutable_preprocessing()->add_columns();
  EXPECT_THAT(RunToEnd(manager(), request).error(), HasSubstr("has 4 entries; there are 3 columns"));
}

TEST_F(TrainWorkerTest, WhatIsWrongWithAFileIsTheTrainingsError) {
  densityd::testing::WriteFile(fixture_.root() + "/data/ragged.csv", "a,b\n1,2\n3\n");
  std::string constant = "a,b\n";
  for (int i = 0; i < 20; ++i) constant += std::to_string(i) + ",7\n";
  densityd::testing::WriteFile(fixture_.root() + "/data/constant.csv", constant);
  TrainRequest request = Request(5);
  request.clear_columns();
  request.set_file("ragged.csv");
  const Training ragged = RunToEnd(manager(), request);
  EXPECT_EQ(ragged.state(), FAILED);
  EXPECT_EQ(ragged.error_code(), static_cast<int>(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ragged.error(), HasSubstr("ragged.csv"));
  EXPECT_THAT(ragged.error(), HasSubstr("line 3"));
  request.set_file("constant.csv");
  EXPECT_THAT(RunToEnd(manager(), request).error(), HasSubstr("column \"b\" is constant"));
}

TEST_F(TrainWorkerTest, DivergenceIsTheTrainingsErrorAndNothingIsPublished) {
  TrainRequest request = Request(2000);
  request.mutable_preset()->set_no_standardize(true);
  std::vector<double> values(2 * 2000);
  engine::FillStandardNormal<double>(/*seed=*/3, 0, 2000, 2, values.data());
  for (double& value : values) value *= 1e30;
  testing::SetRows(values, 2, request);
  const Training training = RunToEnd(manager(), request);
  EXPECT_EQ(training.state(), FAILED);
  EXPECT_EQ(training.error_code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(training.error(), HasSubstr("not finite"));
  EXPECT_TRUE(absl::IsNotFound(Models().Versions("waves").status()));
}

TEST_F(TrainWorkerTest, ItPrintsNothingButJsonLines) {
  const Training training = RunToEnd(manager(), Request(5));
  std::ifstream log(fixture_.TrainingFolder(training.id()) + kWorkerLogFile);
  int lines = 0;
  for (std::string line; std::getline(log, line); ++lines) EXPECT_TRUE(nlohmann::json::accept(line)) << line;
  EXPECT_GE(lines, 2);
}

// A worker that is started again for a training that has published finds that out, and publishes nothing.
TEST_F(TrainWorkerTest, ATrainingPublishesOnce) {
  const Training training = RunToEnd(manager(), Request(5));
  const std::string command = testing::TestProgram("training_worker") + " train-worker " +
                              fixture_.TrainingFolder(training.id()) + " 2>/dev/null";
  EXPECT_EQ(std::system(command.c_str()), 0);
  EXPECT_EQ(Models().Versions("waves")->size(), 1);
}

}  // namespace
}  // namespace densityd::training
