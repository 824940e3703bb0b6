// The training process: `densityd train-worker <training folder>`.
//
// It reads the job in the folder (training_store.h), goes on from the newest checkpoint there, appends what happens to
// its event log, and prints JSON log lines and nothing else. SIGTERM makes it write a checkpoint and end between two
// steps; where the training is cancelled it ends without. It outlives the server that started it, and holds the lock of
// the folder (worker_lock.h), by which the next server finds it. It asks to be the first that the kernel kills when
// memory runs out, so that the server lives on.
//
// With RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in its environment it is one of several ranks
// (docs/operations.md). A rank other than 0 takes no lock and tells no events: its log lines and its exit code say how
// it ended.
#pragma once

#include <string>

namespace densityd::training {

/// Exit codes of TrainWorkerMain.
enum WorkerExitCode {
  kWorkerPublished = 0,   ///< the event log ends with `published`
  kWorkerFailed = 1,      ///< the event log ends with `failed`
  kWorkerCancelled = 2,   ///< stopped by SIGTERM; the event log ends with `cancelled`
  kWorkerUnreadable = 3,  ///< the folder holds no readable job, or its event log cannot be written: see the log lines
  kWorkerBusy = 4,        ///< another process trains in this folder
  kWorkerSuspended = 5,   ///< stopped by SIGTERM; the event log ends with `suspended`; to be started again
};

/// Runs the training in `folder` to its end; returns the exit code. Call from main, once, before threads are started.
int TrainWorkerMain(const std::string& folder);

}  // namespace densityd::training
