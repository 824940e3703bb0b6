#include "server/training/live_training.h"

#include <utility>

#include "server/training/training_store.h"

namespace densityd::training {

using density::v1::Training;

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
  if (IsFinal(now.state())) watchers_.clear();
}

std::unique_ptr<WatchToken> LiveTraining::Watch(TrainingManager::Watcher watcher) {
  absl::MutexLock telling(&telling_);
  const Training now = Get();
  watcher(now);
  const uint64_t id = next_watcher_++;
  if (!IsFinal(now.state())) watchers_.emplace(id, std::move(watcher));
  return std::make_unique<Token>(shared_from_this(), id);
}

}  // namespace densityd::training
