#include "server/training/resumption.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/training/outcome.h"
#include "server/training/timestamps.h"

namespace densityd::training {
namespace {

using density::v1::Training;

void EndRun(absl::Time now, const std::string& why, RunRecord& record, Training& training) {
  if (record.running()) {
    record.set_seconds(record.seconds() + absl::ToDoubleSeconds(now - FromTimestamp(record.start_time())));
  }
  record.set_running(false);
  record.set_interruption(why);
  training.set_state(density::v1::QUEUED);
  training.set_interruption(why);
  training.set_stalled(false);
  record.set_revision(training.revision() + 1);
}

}  // namespace

void BeginRun(absl::Time now, uint64_t revision, RunRecord& record) {
  if (!record.has_first_start_time()) {
    *record.mutable_first_start_time() = ToTimestamp(now);
  } else {
    record.set_resumes(record.resumes() + 1);
  }
  *record.mutable_start_time() = ToTimestamp(now);
  record.set_running(true);
  record.set_revision(revision);
}

void ShowRun(const RunRecord& record, Training& training) {
  training.set_state(density::v1::RUNNING);
  *training.mutable_start_time() = record.first_start_time();
  training.set_resumes(record.resumes());
  training.set_interruption(record.interruption());
}

void SuspendRun(absl::Time now, const std::string& why, RunRecord& record, Training& training) {
  EndRun(now, why, record, training);
}

bool NoteDeath(absl::Time now, const std::string& why, int max_deaths, RunRecord& record, Training& training) {
  const density::v1::TrainingProgress& progress = training.progress();
  if (progress.checkpoint_step() > record.furthest_step()) record.set_deaths_in_a_row(0);
  record.set_furthest_step(std::max(record.furthest_step(), progress.step()));
  record.set_deaths_in_a_row(record.deaths_in_a_row() + 1);
  EndRun(now, why, record, training);
  if (record.deaths_in_a_row() < static_cast<uint32_t>(max_deaths)) return true;
  std::string reason = why;
  if (record.deaths_in_a_row() > 1) {
    absl::StrAppend(&reason, "; it was started again from its last checkpoint, and ", record.deaths_in_a_row(),
                    " processes in a row have died without getting past step ", record.furthest_step());
  }
  Fail(absl::InternalError(reason), training);
  return false;
}

std::string AtStep(const Training& training) {
  if (!training.has_progress()) return "before its first step";
  return absl::StrCat("at step ", training.progress().step(), " of ", training.progress().total_steps());
}

}  // namespace densityd::training
