// Whether and how a training goes on after its process ended without ending it.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "density/v1/training.pb.h"
#include "server/training/training_record.pb.h"

namespace densityd::training {

/// A process is about to be started for a training whose state has `revision`.
void BeginRun(absl::Time now, uint64_t revision, RunRecord& record);

/// Shows in `training` that the process of `record` runs: RUNNING.
void ShowRun(const RunRecord& record, density::v1::Training& training);

/// The process was asked to stop and will be started again: QUEUED. `why` is for people.
void SuspendRun(absl::Time now, const std::string& why, RunRecord& record, density::v1::Training& training);

/// The process died. Returns whether it is to be started again: QUEUED then, with `why` as the reason. Not so, and
/// FAILED, where `max_deaths` processes in a row died without a checkpoint beyond where the ones before came to: what
/// makes it die comes again.
bool NoteDeath(absl::Time now, const std::string& why, int max_deaths, RunRecord& record,
               density::v1::Training& training);

/// "at step 150 of 2000", "before its first step".
std::string AtStep(const density::v1::Training& training);

}  // namespace densityd::training
