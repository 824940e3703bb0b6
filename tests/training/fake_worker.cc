// Stands in for the training process and plays the script that the job's model is named after:
//
//   hang            tells of one step, then sleeps; SIGTERM ends it
//   suspend         tells of one step; SIGTERM makes it say that it is suspended and exit with code 5
//   wait            tells of one step, then waits for the file `go` in its folder, and publishes
//   crash-once      aborts the first time, then publishes
//   creep           tells of a checkpoint one step further each time, and dies; publishes the fifth time
//   eat             holds on to 300 MiB
//   stubborn        the same, but ignores SIGTERM
//   crash           aborts after a line of output
//   exit            exits with code 3 and tells nothing
//   fail            tells that it failed with INVALID_ARGUMENT
//   garbage         writes rubbish into its event log and exits with code 0
//   publish         publishes a version, tells of it, and exits with code 0
//   publish-die     publishes a version and is killed before it can tell
//   orphans         starts a child that holds on to everything, then exits with code 0
//   environment     tells the thread count it was given as the step
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>

#include "server/base/file_system.h"
#include "server/registry/model_store.h"
#include "server/training/event_log.h"
#include "server/training/training_store.h"
#include "server/training/worker_lock.h"
#include "server/training/worker_main.h"

namespace densityd::training {
namespace {

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "fake worker: %s\n", std::string(status.message()).c_str());
  std::_Exit(99);
}

class FakeWorker {
 public:
  explicit FakeWorker(std::string folder) : folder_(std::move(folder)) {
    absl::StatusOr<TrainingJob> job = ReadJobFile(files_, folder_);
    Require(job.status());
    job_ = *std::move(job);
  }

  int Play() {
    const std::string& script = job_.request().model();
    if (script != "garbage") Begin();
    if (script == "hang") return Hang();
    if (script == "suspend") return Suspend();
    if (script == "wait") {
      TellStep(1);
      while (!*files_.Exists(folder_ + "/go")) usleep(1000);
      return Publish(/*tell=*/true);
    }
    if (script == "crash-once") {
      if (CountRuns() == 1) std::abort();
      return Publish(/*tell=*/true);
    }
    if (script == "creep") {
      const uint64_t run = CountRuns();
      if (run == 5) return Publish(/*tell=*/true);
      TellStep(run, /*checkpoint=*/run);
      std::abort();
    }
    if (script == "eat") {
      const std::string food(300 << 20, 'x');
      return food.back() == 'x' ? Hang() : 0;
    }
    if (script == "stubborn") {
      signal(SIGTERM, SIG_IGN);
      return Hang();
    }
    if (script == "crash") {
      std::fprintf(stderr, "about to crash\n");
      std::abort();
    }
    if (script == "exit") return 3;
    if (script == "fail") return Fail();
    if (script == "garbage") {
      std::ofstream(folder_ + kEventsFile) << "no record file at all";
      return 0;
    }
    if (script == "publish") return Publish(/*tell=*/true);
    if (script == "publish-die") {
      Publish(/*tell=*/false);
      raise(SIGKILL);
    }
    if (script == "orphans") {
      const pid_t child = fork();
      if (child == 0) Sleep();
      std::ofstream(folder_ + "/child") << child;
      return 0;
    }
    if (script == "environment") {
      TellStep(std::atoi(std::getenv("OMP_NUM_THREADS")));
      return 0;
    }
    std::fprintf(stderr, "fake worker: no script %s\n", script.c_str());
    return 98;
  }

 private:
  [[noreturn]] static void Sleep() {
    for (;;) pause();
  }

  void Tell(TrainingEvent event) {
    absl::StatusOr<EventLogWriter> events = EventLogWriter::Open(files_, folder_ + kEventsFile);
    Require(events.status());
    Require(events->Append(std::move(event), /*durable=*/false));
  }

  // As the real one does: takes the lock of the folder and tells that it began.
  void Begin() {
    absl::StatusOr<std::optional<WorkerLock>> lock = WorkerLock::TryAcquire(folder_);
    Require(lock.status());
    if (!lock->has_value()) std::_Exit(kWorkerBusy);
    lock_ = *std::move(lock);
    TrainingEvent event;
    event.mutable_begun();
    Tell(event);
  }

  // Which run of the training this is.
  uint64_t CountRuns() {
    std::ofstream(folder_ + "/runs", std::ios::app) << "x";
    return *files_.Size(folder_ + "/runs");
  }

  int Suspend() {
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, nullptr);
    TellStep(1);
    int signal = 0;
    sigwait(&term, &signal);
    TrainingEvent event;
    event.mutable_suspended();
    Tell(event);
    return kWorkerSuspended;
  }

  void TellStep(uint64_t step, uint64_t checkpoint = 0) {
    TrainingEvent event;
    event.mutable_progress()->set_step(step);
    event.mutable_progress()->set_checkpoint_step(checkpoint);
    event.mutable_progress()->set_total_steps(10);
    Tell(event);
  }

  int Hang() {
    TellStep(1);
    Sleep();
  }

  int Fail() {
    TrainingEvent event;
    event.mutable_failed()->set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
    event.mutable_failed()->set_message("feature_columns: column \"x\" is constant");
    Tell(event);
    return 1;
  }

  int Publish(bool tell) {
    const std::string root = folder_ + "/../..";
    absl::StatusOr<registry::ModelStore> models = registry::ModelStore::Open(files_, root, /*clean_tmp=*/false);
    Require(models.status());
    density::v1::ModelManifest manifest;
    manifest.mutable_provenance()->set_training_id(job_.id());
    manifest.mutable_report()->set_steps(10);
    absl::StatusOr<uint64_t> version = models->Publish(job_.request().model(), manifest, {});
    Require(version.status());
    if (!tell) return 0;
    TrainingEvent event;
    event.mutable_published()->set_version(*version);
    event.mutable_published()->mutable_report()->set_steps(10);
    Tell(event);
    return 0;
  }

  FileSystem& files_ = FileSystem::Real();
  const std::string folder_;
  std::optional<WorkerLock> lock_;
  TrainingJob job_;
};

}  // namespace
}  // namespace densityd::training

int main(int argc, char** argv) {
  if (argc != 3 || std::string(argv[1]) != "train-worker") return 97;
  return densityd::training::FakeWorker(argv[2]).Play();
}
