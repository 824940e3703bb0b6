#include "server/serving/job_queue.h"

#include <algorithm>

namespace densityd::serving {
namespace {

/// A job without a deadline, or with a distant one, competes as if it had to be done this long after it came. So tight
/// deadlines go first, but a stream of them holds nobody up for longer than this.
constexpr absl::Duration kPatience = absl::Seconds(1);

bool IsLessUrgent(const QueuedJob& a, const QueuedJob& b) {
  return a.urgency != b.urgency ? a.urgency > b.urgency : a.sequence > b.sequence;
}

std::vector<QueuedJob>& Heap(ModelJobs& model, engine::Op op) { return model.waiting[static_cast<size_t>(op)]; }

}  // namespace

absl::Time UrgencyOf(absl::Time deadline, absl::Time now) { return std::min(deadline, now + kPatience); }

ModelJobs& JobQueue::Model(const std::shared_ptr<const engine::Plan>& plan) {
  for (const auto& model : models_) {
    if (model->plan == plan.get() && !model->alive.expired()) return *model;
  }
  // Rare: a plan's first job. Time to forget those that are gone.
  models_.erase(
      std::remove_if(models_.begin(), models_.end(), [](const auto& model) { return model->alive.expired(); }),
      models_.end());
  auto model = std::make_unique<ModelJobs>();
  model->plan = plan.get();
  model->alive = plan;
  model->cost = costs_->Of(plan);
  models_.push_back(std::move(model));
  return *models_.back();
}

void JobQueue::Push(ModelJobs& model, RowJob& job, absl::Time now, double seconds) {
  if (model.size == 0) model.used = std::max(model.used, last_used_);
  std::vector<QueuedJob>& heap = Heap(model, job.op);
  heap.push_back({&job, now, UrgencyOf(job.deadline, now), next_sequence_++, seconds});
  std::push_heap(heap.begin(), heap.end(), IsLessUrgent);
  ++model.size;
  ++size_;
  seconds_ += seconds;
}

double JobQueue::SecondsBefore(absl::Time urgency) const {
  if (seconds_ == 0) return 0;
  double seconds = 0;
  for (const auto& model : models_) {
    if (model->size == 0) continue;
    for (const std::vector<QueuedJob>& heap : model->waiting) {
      for (const QueuedJob& job : heap) seconds += job.urgency <= urgency ? job.seconds : 0;
    }
  }
  return seconds;
}

JobQueue::Turn JobQueue::Next() {
  ModelJobs* next = nullptr;
  for (const auto& model : models_) {
    if (model->size > 0 && (next == nullptr || model->used < next->used)) next = model.get();
  }
  last_used_ = std::max(last_used_, next->used);
  Turn turn{next, engine::Op::kLogProb};
  const QueuedJob* most_urgent = nullptr;
  for (int op = 0; op < engine::kOpCount; ++op) {
    const std::vector<QueuedJob>& heap = next->waiting[op];
    if (heap.empty() || (most_urgent != nullptr && !IsLessUrgent(*most_urgent, heap.front()))) continue;
    most_urgent = &heap.front();
    turn.op = static_cast<engine::Op>(op);
  }
  return turn;
}

QueuedJob* JobQueue::Top(const Turn& turn) {
  std::vector<QueuedJob>& heap = Heap(*turn.model, turn.op);
  return heap.empty() ? nullptr : &heap.front();
}

void JobQueue::Pop(const Turn& turn) {
  std::vector<QueuedJob>& heap = Heap(*turn.model, turn.op);
  Forget(*turn.model, heap.front());
  std::pop_heap(heap.begin(), heap.end(), IsLessUrgent);
  heap.pop_back();
}

void JobQueue::Shorten(const Turn& turn, double seconds) {
  QueuedJob& top = *Top(turn);
  seconds = std::min(seconds, top.seconds);
  top.seconds -= seconds;
  seconds_ -= seconds;
}

void JobQueue::Remove(const RowJob& job) {
  ModelJobs& model = Model(job.plan);
  std::vector<QueuedJob>& heap = Heap(model, job.op);
  const auto found =
      std::find_if(heap.begin(), heap.end(), [&job](const QueuedJob& queued) { return queued.job == &job; });
  if (found == heap.end()) return;
  Forget(model, *found);
  heap.erase(found);
  std::make_heap(heap.begin(), heap.end(), IsLessUrgent);
}

void JobQueue::Forget(ModelJobs& model, const QueuedJob& job) {
  --model.size;
  --size_;
  // Exactly zero when empty: rounding errors must not add up over the server's life.
  seconds_ = size_ == 0 ? 0 : std::max(0.0, seconds_ - job.seconds);
}

}  // namespace densityd::serving
