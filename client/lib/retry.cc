#include "client/lib/retry.h"

#include <algorithm>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "densityd/errors.h"

namespace densityd::client_internal {
namespace {

class RealEnvironment final : public RetryEnvironment {
 public:
  absl::Time Now() override { return absl::Now(); }
  void Sleep(absl::Duration duration) override { absl::SleepFor(duration); }
  double Uniform() override {
    thread_local absl::BitGen generator;
    return absl::Uniform(generator, 0.0, 1.0);
  }
};

}  // namespace

RetryEnvironment& RetryEnvironment::Real() {
  static RealEnvironment environment;
  return environment;
}

Backoff::Backoff(const RetryPolicy& policy, absl::Time deadline, RetryEnvironment& environment, RetryBudget* budget)
    : policy_(policy), deadline_(deadline), environment_(&environment), budget_(budget) {
  Reset();
  if (budget_ != nullptr) budget_->OnCall(start_);
}

void Backoff::Reset() {
  start_ = environment_->Now();
  backoff_ = policy_.initial_backoff;
  attempts_ = 0;
}

bool MayPass(const absl::Status& status) {
  // Nobody here cancels a call: a server that ends answers so what arrives at the last moment (gRPC's doing, not ours).
  if (absl::IsUnavailable(status) || absl::IsCancelled(status)) return true;
  return absl::IsResourceExhausted(status) && RetryDelay(status).has_value();
}

bool Backoff::TakeAttempt() {
  if (attempts_ + 2 > policy_.max_attempts) return false;
  const absl::Time now = environment_->Now();
  // As if the one under way had failed now.
  if (attempts_ == 0) start_ = now;
  if (now > start_ + policy_.budget || now >= deadline_) return false;
  ++attempts_;
  return true;
}

std::optional<absl::Duration> Backoff::Next(const absl::Status& status) {
  // The budget is for failing: what a stream or a watch took before its connection broke does not count.
  if (attempts_ == 0) start_ = environment_->Now();
  ++attempts_;
  const std::optional<absl::Duration> asked = RetryDelay(status);
  if (!MayPass(status) || attempts_ >= policy_.max_attempts) return std::nullopt;

  const absl::Time now = environment_->Now();
  const bool is_counted = budget_ != nullptr && !asked.has_value();
  const absl::Duration turn = is_counted ? budget_->Take(now) : absl::ZeroDuration();
  const double shortened = 1 - std::clamp(policy_.jitter, 0.0, 1.0) * environment_->Uniform();
  const absl::Duration wait = std::max({backoff_ * shortened, asked.value_or(absl::ZeroDuration()), turn});
  backoff_ = std::min(backoff_ * policy_.multiplier, policy_.max_backoff);
  const absl::Time next = now + wait;
  if (next <= start_ + policy_.budget && next < deadline_) return wait;
  if (is_counted && turn != absl::InfiniteDuration()) budget_->GiveBack();
  return std::nullopt;
}

absl::Status Backoff::Exhausted(const absl::Status& status) const {
  if (attempts_ <= 1) return status;
  const absl::Duration tried = absl::Trunc(environment_->Now() - start_, absl::Milliseconds(1));
  absl::Status result(status.code(), absl::StrCat(status.message(), " (after ", attempts_, " attempts in ",
                                                  absl::FormatDuration(tried), ")"));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { result.SetPayload(url, payload); });
  return result;
}

absl::Status Retry(Backoff backoff, RetryEnvironment& environment, absl::FunctionRef<absl::Status(Backoff&)> attempt) {
  while (true) {
    absl::Status status = attempt(backoff);
    if (status.ok()) return status;
    const std::optional<absl::Duration> wait = backoff.Next(status);
    if (!wait.has_value()) return backoff.Exhausted(status);
    environment.Sleep(*wait);
  }
}

}  // namespace densityd::client_internal
