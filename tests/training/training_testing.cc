#include "tests/training/training_testing.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/cord.h"
#include "google/rpc/error_details.pb.h"
#include "server/training/rank_sockets.h"
#include "server/training/training_store.h"
#include "server/training/worker_lock.h"

namespace densityd::training::testing {

using density::v1::Training;
using density::v1::TrainRequest;

TrainingManager::Watcher Recorder::watcher() {
  return [this](const Training& training) {
    absl::MutexLock lock(&mutex_);
    seen_.push_back(training);
  };
}

Training Recorder::WaitFor(const std::function<bool(const Training&)>& wanted) {
  Training found;
  const auto is_there = [&]() {
    for (const Training& training : seen_) {
      if (!wanted(training)) continue;
      found = training;
      return true;
    }
    return false;
  };
  absl::MutexLock lock(&mutex_);
  EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&is_there), absl::Minutes(1)))
      << "last seen: " << (seen_.empty() ? "nothing" : seen_.back().ShortDebugString());
  return found;
}

Training Recorder::WaitForEnd() {
  return WaitFor([](const Training& training) { return IsFinal(training.state()); });
}

Training Recorder::WaitForStep() {
  return WaitFor([](const Training& training) { return training.progress().step() > 0; });
}

std::vector<Training> Recorder::seen() const {
  absl::MutexLock lock(&mutex_);
  return seen_;
}

ManagerFixture::ManagerFixture(std::string worker)
    : on_published([](const std::string&, uint64_t) { return absl::OkStatus(); }),
      datasets_(DatasetStore::Open(FileSystem::Real(), root_.path(), uint64_t{1} << 30).value()) {
  options.root = root_.path();
  options.worker_binary = TestProgram(worker);
}

void ManagerFixture::Open() {
  manager_.reset();
  auto manager = TrainingManager::Open(FileSystem::Real(), datasets_, options, on_published);
  ASSERT_TRUE(manager.ok()) << manager.status();
  manager_ = *std::move(manager);
}

SourceData SourceOf(Table table) { return {std::make_unique<MemoryRows>(std::move(table)), "rows", "inline"}; }

absl::StatusOr<Table> ReadTable(const absl::StatusOr<std::unique_ptr<RowSource>>& rows) {
  if (!rows.ok()) return rows.status();
  Table table{(*rows)->rows(), (*rows)->cols(), (*rows)->columns(), {}};
  absl::Status status = (*rows)->Read([&](absl::Span<const double> block) {
    table.values.insert(table.values.end(), block.begin(), block.end());
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  EXPECT_EQ(table.values.size(), table.rows * table.cols);
  return table;
}

SelectedRows Selected(std::vector<double> values, size_t cols) {
  const auto memory = std::make_shared<std::vector<double>>(std::move(values));
  return {memory->size() / cols, *memory, memory};
}

ScratchSpace Scratch() { return {&FileSystem::Real(), ::testing::TempDir()}; }

void SetRows(const std::vector<double>& values, size_t cols, TrainRequest& request) {
  density::v1::Matrix& rows = *request.mutable_rows();
  rows.set_rows(values.size() / cols);
  rows.set_cols(cols);
  rows.set_f64_le(values.data(), values.size() * sizeof(double));
}

TrainRequest SmallRequest(const std::string& model) {
  TrainRequest request;
  request.set_model(model);
  request.mutable_preset()->set_name("affine");
  std::vector<double> values;
  for (int i = 0; i < 20; ++i) {
    values.push_back(std::sin(i));
    values.push_back(std::cos(3 * i));
  }
  SetRows(values, 2, request);
  return request;
}

Training RunToEnd(TrainingManager& manager, const TrainRequest& request) {
  const absl::StatusOr<Training> started = manager.Start(request);
  EXPECT_TRUE(started.ok()) << started.status();
  if (!started.ok()) return Training();
  Recorder recorder;
  const auto token = manager.Watch(started->id(), recorder.watcher());
  EXPECT_TRUE(token.ok()) << token.status();
  return recorder.WaitForEnd();
}

pid_t WaitForWorker(const std::string& folder) {
  const absl::Time until = absl::Now() + absl::Minutes(1);
  while (absl::Now() < until) {
    const auto worker = FindLiveWorker(folder);
    EXPECT_TRUE(worker.ok()) << worker.status();
    if (worker.ok() && worker->has_value()) return (*worker)->pid;
    absl::SleepFor(absl::Milliseconds(1));
  }
  ADD_FAILURE() << "no process trains in " << folder;
  return 0;
}

void WaitUntilReadable(int fd) {
  pollfd wait = {fd, POLLIN, 0};
  EXPECT_EQ(poll(&wait, 1, /*milliseconds=*/60'000), 1);
}

uint16_t FreePort() { return OwnPort(ListenAt("127.0.0.1", 0)->get()).value(); }

std::string TestProgram(const std::string& name) { return std::string(DENSITYD_BINARY_DIR "/tests/") + name; }

std::string BadField(const absl::Status& status) {
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc.BadRequest");
  google::rpc::BadRequest details;
  if (!payload.has_value() || !details.ParseFromString(std::string(*payload))) return "";
  return details.field_violations_size() == 0 ? "" : details.field_violations(0).field();
}

}  // namespace densityd::training::testing
