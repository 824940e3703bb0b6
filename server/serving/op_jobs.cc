#include <algorithm>
#include <utility>

#include "server/serving/job_queue.h"

namespace densityd::serving {
namespace {

/// Clients without jobs that are remembered before those without debts are forgotten.
constexpr size_t kFewClients = 64;

bool IsLessUrgent(const QueuedJob& a, const QueuedJob& b) {
  return a.urgency != b.urgency ? a.urgency > b.urgency : a.sequence > b.sequence;
}

}  // namespace

bool OpJobs::IsLater(uint32_t a, uint32_t b) const {
  const Client& first = clients_[a];
  const Client& second = clients_[b];
  if (first.used != second.used) return first.used > second.used;
  return IsLessUrgent(first.waiting.front(), second.waiting.front());
}

OpJobs::Client& OpJobs::Find(uint64_t id, uint32_t& index) {
  const auto found = by_client_.find(id);
  if (found != by_client_.end()) {
    index = found->second;
    return clients_[index];
  }
  if (by_client_.size() >= kFewClients + 2 * turns_.size()) ForgetIdle();
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(clients_.size()));
    clients_.emplace_back();
    free_.reserve(clients_.size());
    turns_.reserve(clients_.size());
  }
  index = free_.back();
  free_.pop_back();
  by_client_[id] = index;
  Client& client = clients_[index];
  client.id = id;
  client.used = level_;
  return client;
}

void OpJobs::ForgetIdle() {
  for (uint32_t index = 0; index < clients_.size(); ++index) {
    const Client& client = clients_[index];
    if (!client.waiting.empty() || client.used > level_) continue;
    const auto found = by_client_.find(client.id);
    if (found == by_client_.end() || found->second != index) continue;  // free already
    by_client_.erase(found);
    free_.push_back(index);
  }
}

void OpJobs::Push(uint64_t id, const QueuedJob& job) {
  uint32_t index = 0;
  Client& client = Find(id, index);
  const bool was_idle = client.waiting.empty();
  if (was_idle) client.used = std::max(client.used, level_);
  client.waiting.push_back(job);
  std::push_heap(client.waiting.begin(), client.waiting.end(), IsLessUrgent);
  client.rows += job.rows;
  seconds_ += job.seconds;
  if (was_idle) {
    turns_.push_back(index);
    std::push_heap(turns_.begin(), turns_.end(), [this](uint32_t a, uint32_t b) { return IsLater(a, b); });
  } else if (client.waiting.front().job == job.job) {
    RebuildTurns();  // rare: a client's later job is its most urgent one
  }
}

void OpJobs::RebuildTurns() {
  std::make_heap(turns_.begin(), turns_.end(), [this](uint32_t a, uint32_t b) { return IsLater(a, b); });
}

void OpJobs::Take(size_t rows, double seconds) {
  Client& client = clients_[turns_.front()];
  level_ = std::max(level_, client.used);
  client.used += rows;
  most_used_ = std::max(most_used_, client.used);
  QueuedJob& job = client.waiting.front();
  if (rows == job.rows) return PopTop();
  client.rows -= rows;
  job.rows -= rows;
  job.seconds -= seconds;
  seconds_ -= seconds;
  Requeue();
}

void OpJobs::Drop() { PopTop(); }

void OpJobs::PopTop() {
  Client& client = clients_[turns_.front()];
  client.rows -= client.waiting.front().rows;
  seconds_ -= client.waiting.front().seconds;
  std::pop_heap(client.waiting.begin(), client.waiting.end(), IsLessUrgent);
  client.waiting.pop_back();
  Requeue();
}

void OpJobs::Requeue() {
  const auto later = [this](uint32_t a, uint32_t b) { return IsLater(a, b); };
  const uint32_t index = turns_.front();
  // The heap's order may not hold for the one that changed, so it is put at the end by hand.
  std::swap(turns_.front(), turns_.back());
  turns_.pop_back();
  size_t hole = 0;
  for (size_t child = 1; child < turns_.size(); child = 2 * hole + 1) {
    if (child + 1 < turns_.size() && later(turns_[child], turns_[child + 1])) ++child;
    if (!later(turns_[hole], turns_[child])) break;
    std::swap(turns_[hole], turns_[child]);
    hole = child;
  }
  if (!clients_[index].waiting.empty()) {
    turns_.push_back(index);
    std::push_heap(turns_.begin(), turns_.end(), later);
  }
  BeginLevelIfEmpty();
}

void OpJobs::BeginLevelIfEmpty() {
  if (!turns_.empty()) return;
  // Nobody waits, so nobody was passed over: all begin level. Exactly zero: rounding errors must not add up.
  level_ = most_used_;
  seconds_ = 0;
}

bool OpJobs::Remove(const RowJob& job) {
  for (const uint32_t index : turns_) {
    Client& client = clients_[index];
    const auto found = std::find_if(client.waiting.begin(), client.waiting.end(),
                                    [&job](const QueuedJob& queued) { return queued.job == &job; });
    if (found == client.waiting.end()) continue;
    client.rows -= found->rows;
    seconds_ -= found->seconds;
    client.waiting.erase(found);
    std::make_heap(client.waiting.begin(), client.waiting.end(), IsLessUrgent);
    if (client.waiting.empty()) turns_.erase(std::find(turns_.begin(), turns_.end(), index));
    RebuildTurns();
    BeginLevelIfEmpty();
    return true;
  }
  return false;
}

double OpJobs::RowsThrough(uint64_t id, absl::Time urgency, size_t rows) const {
  const auto found = by_client_.find(id);
  uint64_t used = level_;
  uint64_t own = rows;
  if (found != by_client_.end()) {
    const Client& client = clients_[found->second];
    used = std::max(used, client.used);
    for (const QueuedJob& job : client.waiting) own += job.urgency <= urgency ? job.rows : 0;
  }
  double through = static_cast<double>(own);
  for (const uint32_t index : turns_) {
    const Client& client = clients_[index];
    if (client.id == id || client.used >= used + own) continue;
    through += static_cast<double>(std::min<uint64_t>(client.rows, used + own - client.used));
  }
  return through;
}

}  // namespace densityd::serving
