#include "server/rpc/health.h"

#include <algorithm>
#include <utility>

#include "server/base/logging.h"
#include "server/base/strings.h"

namespace densityd::rpc {

void Health::Attach(const registry::ModelManager* models) {
  absl::MutexLock lock(&mutex_);
  models_ = models;
  const auto list = models->List();
  if (!list.ok()) {
    Log(LogLevel::kWarning, "models could not be listed", {{"error", ToStd(list.status().message())}});
    return;
  }
  for (const auto& model : *list) Report(model.name());
}

void Health::OnModelChanged(const std::string& model) {
  // The lock spans the question and the answer: of two changes at once, the one that asks last also tells last.
  absl::MutexLock lock(&mutex_);
  if (models_ != nullptr) Report(model);
}

void Health::Report(const std::string& model) { Set(model, models_->Acquire(model).ok()); }

void Health::SetReachable(bool reachable) {
  absl::MutexLock lock(&mutex_);
  Set("", reachable);
}

void Health::Set(const std::string& service, bool serving) {
  serving &= !stopped_;
  const auto [entry, is_new] = serving_.try_emplace(service, serving);
  if (!is_new && std::exchange(entry->second, serving) == serving) return;
  for (const Follower& follower : followers_) {
    if (follower.service != service) continue;
    if (const auto watcher = follower.watcher.lock()) watcher->OnServing(Find(service));
  }
}

void Health::Stop() {
  absl::MutexLock lock(&mutex_);
  stopped_ = true;
  for (const auto& [service, serving] : std::map<std::string, bool>(serving_)) Set(service, false);
}

void Health::EndWatches() {
  absl::MutexLock lock(&mutex_);
  ended_ = true;
  for (const Follower& follower : std::exchange(followers_, {})) {
    if (const auto watcher = follower.watcher.lock()) watcher->OnEnd();
  }
}

void Health::Detach() {
  absl::MutexLock lock(&mutex_);
  models_ = nullptr;
}

Serving Health::Find(const std::string& service) const {
  const auto entry = serving_.find(service);
  if (entry == serving_.end()) return Serving::kServiceUnknown;
  return entry->second ? Serving::kServing : Serving::kNotServing;
}

Serving Health::Check(const std::string& service) const {
  absl::MutexLock lock(&mutex_);
  return Find(service);
}

void Health::Watch(const std::string& service, const std::shared_ptr<HealthWatcher>& watcher) {
  absl::MutexLock lock(&mutex_);
  if (ended_) return watcher->OnEnd();
  if (followers_.size() >= followers_to_sweep_) {
    std::erase_if(followers_, [](const Follower& follower) { return follower.watcher.expired(); });
    followers_to_sweep_ = std::max<size_t>(16, 2 * followers_.size());
  }
  followers_.push_back({service, watcher});
  watcher->OnServing(Find(service));
}

}  // namespace densityd::rpc
