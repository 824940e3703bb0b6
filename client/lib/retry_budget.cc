#include "client/lib/retry_budget.h"

#include <algorithm>

namespace densityd::client_internal {
namespace {

constexpr double kSecondsSaved = 10;

}  // namespace

RetryBudget::RetryBudget(double max_share, double least_per_second, absl::Time now)
    : max_share_(std::max(max_share, 0.0)),
      per_second_(std::max(least_per_second, 0.0)),
      most_(kSecondsSaved * per_second_ + (max_share_ > 0 ? 1 : 0)),
      left_(most_),
      time_(now) {}

void RetryBudget::Refill(absl::Time now) {
  if (now > time_) left_ = std::min(most_, left_ + absl::ToDoubleSeconds(now - time_) * per_second_);
  time_ = std::max(now, time_);
}

void RetryBudget::OnCall(absl::Time now) {
  absl::MutexLock lock(&mutex_);
  Refill(now);
  left_ = std::min(most_, left_ + max_share_);
}

absl::Duration RetryBudget::Take(absl::Time now) {
  absl::MutexLock lock(&mutex_);
  Refill(now);
  if (left_ < 1 && per_second_ == 0) return absl::InfiniteDuration();
  left_ -= 1;
  return left_ >= 0 ? absl::ZeroDuration() : absl::Seconds(-left_ / per_second_);
}

void RetryBudget::GiveBack() {
  absl::MutexLock lock(&mutex_);
  left_ = std::min(most_, left_ + 1);
}

}  // namespace densityd::client_internal
