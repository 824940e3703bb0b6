#include "server/serving/job_queue.h"

#include <algorithm>

namespace densityd::serving {
namespace {

/// A job without a deadline, or with a distant one, competes as if it had to be done this long after it came. So tight
/// deadlines go first, but a stream of them holds nobody up for longer than this.
constexpr absl::Duration kPatience = absl::Seconds(1);

OpJobs& Of(ModelJobs& model, engine::Op op) { return model.ops[static_cast<size_t>(op)]; }

/// Seconds that one who has `seconds` waiting and got `used` so far gets until another one, who got `own_used`, has got
/// `own` more.
double ShareUntil(double seconds, double used, double own, double own_used) {
  return std::clamp(own_used + own - used, 0.0, seconds);
}

}  // namespace

absl::Time UrgencyOf(absl::Time deadline, absl::Time now) { return std::min(deadline, now + kPatience); }

ModelJobs& JobQueue::Model(const std::shared_ptr<const engine::Plan>& plan) {
  for (const auto& model : models_) {
    if (model->plan == plan.get() && !model->alive.expired()) return *model;
  }
  // Rare: a plan's first job. Time to forget those that are gone.
  std::erase_if(models_, [](const auto& model) { return model->alive.expired(); });
  auto model = std::make_unique<ModelJobs>();
  model->plan = plan.get();
  model->alive = plan;
  model->cost = costs_->Of(plan);
  models_.push_back(std::move(model));
  return *models_.back();
}

void JobQueue::Push(ModelJobs& model, RowJob& job, absl::Time now, double seconds) {
  if (model.size == 0) model.used = std::max(model.used, last_used_);
  OpJobs& jobs = Of(model, job.op);
  if (jobs.empty()) jobs.used = std::max(jobs.used, model.last_op_used);
  jobs.Push(job.client, {&job, now, UrgencyOf(job.deadline, now), next_sequence_++, job.span.rows, seconds});
  ++model.size;
  ++size_;
  model.seconds += seconds;
  seconds_ += seconds;
}

double JobQueue::SecondsThrough(const ModelJobs& model, const RowJob& job, absl::Time urgency, double seconds) const {
  if (seconds_ == 0) return seconds;
  const OpJobs& jobs = model.ops[static_cast<size_t>(job.op)];
  const double rows = static_cast<double>(job.span.rows);
  // What waits is as dear per row as this job, or dearer where runs are not full: a lower estimate of it is wanted.
  const double in_op = jobs.RowsThrough(job.client, urgency, job.span.rows) / rows;
  const double op_seconds = seconds + std::min((in_op - 1) * seconds, jobs.seconds());
  double model_seconds = op_seconds;
  for (const OpJobs& other : model.ops) {
    if (&other == &jobs || other.empty()) continue;
    model_seconds += ShareUntil(other.seconds(), other.used, op_seconds, std::max(jobs.used, model.last_op_used));
  }
  double all = model_seconds;
  for (const auto& other : models_) {
    if (other.get() == &model || other->size == 0) continue;
    all += ShareUntil(other->seconds, other->used, model_seconds, std::max(model.used, last_used_));
  }
  return all;
}

JobQueue::Turn JobQueue::Next() {
  ModelJobs* next = nullptr;
  for (const auto& model : models_) {
    if (model->size > 0 && (next == nullptr || model->used < next->used)) next = model.get();
  }
  last_used_ = std::max(last_used_, next->used);
  Turn turn{next, engine::Op::kLogProb};
  const OpJobs* least = nullptr;
  for (int op = 0; op < engine::kOpCount; ++op) {
    const OpJobs& jobs = next->ops[op];
    if (jobs.empty() || (least != nullptr && jobs.used >= least->used)) continue;
    least = &jobs;
    turn.op = static_cast<engine::Op>(op);
  }
  next->last_op_used = std::max(next->last_op_used, least->used);
  return turn;
}

QueuedJob* JobQueue::Top(const Turn& turn) {
  OpJobs& jobs = Of(*turn.model, turn.op);
  return jobs.empty() ? nullptr : &jobs.Top();
}

void JobQueue::Take(const Turn& turn, size_t rows) {
  OpJobs& jobs = Of(*turn.model, turn.op);
  const QueuedJob& top = jobs.Top();
  const double seconds = top.seconds * static_cast<double>(rows) / static_cast<double>(top.rows);
  const bool whole = rows == top.rows;
  jobs.Take(rows, seconds);
  if (whole) return Forget(*turn.model, seconds);
  turn.model->seconds -= seconds;
  seconds_ -= seconds;
}

void JobQueue::Drop(const Turn& turn) {
  OpJobs& jobs = Of(*turn.model, turn.op);
  const double seconds = jobs.Top().seconds;
  jobs.Drop();
  Forget(*turn.model, seconds);
}

void JobQueue::Remove(const RowJob& job) {
  ModelJobs& model = Model(job.plan);
  OpJobs& jobs = Of(model, job.op);
  const double before = jobs.seconds();
  if (jobs.Remove(job)) Forget(model, before - jobs.seconds());
}

void JobQueue::Charge(ModelJobs& model, engine::Op op, double seconds) {
  model.used += seconds;
  Of(model, op).used += seconds;
}

void JobQueue::Forget(ModelJobs& model, double seconds) {
  --model.size;
  --size_;
  // Exactly zero when empty: rounding errors must not add up over the server's life.
  model.seconds = model.size == 0 ? 0 : std::max(0.0, model.seconds - seconds);
  seconds_ = size_ == 0 ? 0 : std::max(0.0, seconds_ - seconds);
}

}  // namespace densityd::serving
