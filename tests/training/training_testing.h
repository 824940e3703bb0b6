// Helpers of the tests of trainings.
#pragma once

#include <sys/types.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "density/v1/training.pb.h"
#include "server/base/file_system.h"
#include "server/base/table.h"
#include "server/training/dataset_store.h"
#include "server/training/row_source.h"
#include "server/training/training_data.h"
#include "server/training/training_manager.h"
#include "tests/base/temp_folder.h"

namespace densityd::training::testing {

/// Collects what a watcher sees, and waits for it.
class Recorder {
 public:
  TrainingManager::Watcher watcher();
  /// The first state, seen already or yet to come, for which `wanted` holds. Fails the test after a minute.
  density::v1::Training WaitFor(const std::function<bool(const density::v1::Training&)>& wanted);
  density::v1::Training WaitForEnd();
  density::v1::Training WaitForStep();
  std::vector<density::v1::Training> seen() const;

 private:
  mutable absl::Mutex mutex_;
  std::vector<density::v1::Training> seen_ ABSL_GUARDED_BY(mutex_);
};

/// A root of its own with a training manager on it that starts `worker` of the build's test programs.
class ManagerFixture {
 public:
  explicit ManagerFixture(std::string worker);

  /// Opens the manager, or reopens it as the next server would.
  void Open();
  void Close() { manager_.reset(); }
  TrainingManager& manager() { return *manager_; }
  DatasetStore& datasets() { return datasets_; }
  FileSystem& files() { return FileSystem::Real(); }
  const std::string& root() const { return root_.path(); }
  std::string TrainingFolder(const std::string& id) const { return root_.Path("trainings/" + id); }

  TrainingManagerOptions options;             ///< of the next Open
  TrainingManager::OnPublished on_published;  ///< of the next Open

 private:
  densityd::testing::TempFolder root_;
  DatasetStore datasets_;
  std::unique_ptr<TrainingManager> manager_;
};

/// Rows in memory.
class MemoryRows final : public RowSource {
 public:
  explicit MemoryRows(Table table) : table_(std::move(table)) {}

  uint64_t rows() const override { return table_.rows; }
  size_t cols() const override { return table_.cols; }
  const std::vector<std::string>& columns() const override { return table_.columns; }
  absl::Status Read(RowSink take) const override { return take(table_.values); }
  absl::StatusOr<FileStamp> Stamp() const override { return stamp; }

  /// To change them.
  Table& table() { return table_; }
  FileStamp stamp;

 private:
  Table table_;
};

/// As if they had come inside a request.
SourceData SourceOf(Table table);

/// All rows of a source that could be opened, with its columns' names.
absl::StatusOr<Table> ReadTable(const absl::StatusOr<std::unique_ptr<RowSource>>& rows);

/// A view of `values` (rows, cols), which it holds.
SelectedRows Selected(std::vector<double> values, size_t cols);

/// Where the tests' data are kept.
ScratchSpace Scratch();

/// Rows (rows, cols) inside a request, float64.
void SetRows(const std::vector<double>& values, size_t cols, density::v1::TrainRequest& request);

/// A small valid request: an affine flow of two columns of twenty rows.
density::v1::TrainRequest SmallRequest(const std::string& model);

/// Starts it and waits until it has ended.
density::v1::Training RunToEnd(TrainingManager& manager, const density::v1::TrainRequest& request);

/// Waits until a process trains in `folder`; returns its id.
pid_t WaitForWorker(const std::string& folder);

/// Waits until a descriptor, such as one of a process that is to end, is readable. Fails the test after a minute.
void WaitUntilReadable(int fd);

/// A port of this machine's loopback that was free a moment ago.
uint16_t FreePort();

/// The path of a program in the build's tests folder.
std::string TestProgram(const std::string& name);

/// Whether the status carries a BadRequest for this field.
std::string BadField(const absl::Status& status);

}  // namespace densityd::training::testing
