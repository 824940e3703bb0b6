#include "server/rpc/health.h"

#include <utility>

#include "server/base/logging.h"
#include "server/base/strings.h"

namespace densityd::rpc {

void Health::Attach(grpc::HealthCheckServiceInterface* service, const registry::ModelManager* models) {
  absl::MutexLock lock(&mutex_);
  service_ = service;
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
  if (service_ != nullptr) Report(model);
}

void Health::Report(const std::string& model) {
  const bool serving = models_->Acquire(model).ok();
  const auto [told, is_new] = told_.try_emplace(model, serving);
  if (!is_new && std::exchange(told->second, serving) == serving) return;
  service_->SetServingStatus(model, serving);
}

void Health::SetReachable(bool reachable) {
  absl::MutexLock lock(&mutex_);
  if (service_ != nullptr) service_->SetServingStatus("", reachable);
}

void Health::Stop() {
  absl::MutexLock lock(&mutex_);
  if (service_ != nullptr) service_->Shutdown();
}

void Health::Detach() {
  absl::MutexLock lock(&mutex_);
  service_ = nullptr;
  models_ = nullptr;
}

}  // namespace densityd::rpc
