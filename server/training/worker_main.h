// The training process: `densityd train-worker <training folder>`.
//
// It reads the job in the folder (training_store.h), appends what happens to its event log, and prints JSON log lines
// and nothing else. SIGTERM stops it between two steps. When the server that started it dies, it dies, too. It asks to
// be the first that the kernel kills when memory runs out, so that the server lives on.
#pragma once

#include <string>

namespace densityd::training {

/// Exit codes of TrainWorkerMain.
enum WorkerExitCode {
  kWorkerPublished = 0,   ///< the event log ends with `published`
  kWorkerFailed = 1,      ///< the event log ends with `failed`
  kWorkerCancelled = 2,   ///< stopped by SIGTERM; the event log ends with `cancelled`
  kWorkerUnreadable = 3,  ///< the folder holds no readable job, or its event log cannot be written: see the log lines
  kWorkerOrphaned = 4,    ///< the server that started it was gone before it could begin
};

/// Runs the training in `folder` to its end; returns the exit code. Call from main, once, before threads are started.
int TrainWorkerMain(const std::string& folder);

}  // namespace densityd::training
