#include "server/training/live_training.h"

#include <utility>

#include "server/training/training_store.h"

namespace densityd::training {

using density::v1::Training;

namespace {

constexpr size_t kHistory = 256;  // as WatchTrainingRequest.after_revision promises

}  // namespace

class LiveTraining::Token : public WatchToken {
 public:
  Token(std::shared_ptr<LiveTraining> training, uint64_t watcher) : training_(std::move(training)), watcher_(watcher) {}
  ~Token() override {
    absl::MutexLock lock(&training_->telling_);
    training_->watchers_.erase(watcher_);
  }

 private:
  const std::shared_ptr<LiveTraining> training_;
  const uint64_t watcher_;
};

Training LiveTraining::Get() const {
  absl::MutexLock lock(&mutex_);
  return training_;
}

void LiveTraining::Update(absl::FunctionRef<void(Training&)> change) {
  absl::MutexLock telling(&telling_);
  Training now;
  {
    absl::MutexLock lock(&mutex_);
    change(training_);
    training_.set_revision(training_.revision() + 1);
    now = training_;
  }
  for (const auto& [id, watcher] : watchers_) watcher(now);
  if (IsFinal(now.state())) {
    watchers_.clear();
    history_.clear();
    return;
  }
  history_.push_back(std::move(now));
  if (history_.size() > kHistory) history_.pop_front();
}

std::unique_ptr<WatchToken> LiveTraining::Watch(uint64_t after_revision, TrainingManager::Watcher watcher) {
  absl::MutexLock telling(&telling_);
  const Training now = Get();
  // A revision that has not been reached is of another life, from before a backup was restored.
  const bool seen_any = after_revision > 0 && after_revision <= now.revision();
  for (const Training& past : history_) {
    if (seen_any && past.revision() > after_revision && past.revision() < now.revision()) watcher(past);
  }
  if (!seen_any || now.revision() > after_revision || IsFinal(now.state())) watcher(now);
  const uint64_t id = next_watcher_++;
  if (!IsFinal(now.state())) watchers_.emplace(id, std::move(watcher));
  return std::make_unique<Token>(shared_from_this(), id);
}

}  // namespace densityd::training
