#include "server/serving/client_quota.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/memory_budget.h"
#include "server/base/strings.h"

namespace densityd::serving {
namespace {

/// What a client did not use it may have later, for this long.
constexpr int64_t kSavedNanoseconds = 1'000'000'000;
/// More is never owed: neither a huge request at a tiny rate nor a clock that was set back locks a client out for good.
constexpr int64_t kMostOwedNanoseconds = int64_t{3600} * 1'000'000'000;
/// When one of a client's calls ends is not known.
constexpr absl::Duration kCallRetry = absl::Milliseconds(100);

int64_t Cost(uint64_t rows, uint64_t rows_per_second) {
  const double nanoseconds = static_cast<double>(rows) / static_cast<double>(rows_per_second) * 1e9;
  return static_cast<int64_t>(std::min(nanoseconds, static_cast<double>(kMostOwedNanoseconds)));
}

/// When everything is paid for, once `rows` more are.
int64_t PaidAt(int64_t paid_at, int64_t now, uint64_t rows, uint64_t rows_per_second) {
  const int64_t begin = std::max(paid_at, now - kSavedNanoseconds);
  return std::min(begin + Cost(rows, rows_per_second), now + kMostOwedNanoseconds);
}

}  // namespace

ClientQuota::ClientQuota(std::string name, QuotaLimits limits)
    : name_(std::move(name)), id_(std::hash<std::string>()(name_)) {
  set_limits(limits);
}

void ClientQuota::set_limits(QuotaLimits limits) {
  rows_per_second_.store(limits.rows_per_second, std::memory_order_relaxed);
  max_calls_.store(limits.calls, std::memory_order_relaxed);
}

absl::Status ClientQuota::TakeRows(uint64_t rows, absl::Time now) {
  if (const uint64_t rate = rows_per_second_.load(std::memory_order_relaxed); rate > 0) {
    const int64_t time = absl::ToUnixNanos(now);
    int64_t paid_at = paid_at_.load(std::memory_order_relaxed);
    do {
      const int64_t owed = std::min(paid_at - time, kMostOwedNanoseconds);
      if (owed > 0) {
        refused_rows_.fetch_add(1, std::memory_order_relaxed);
        return Refused(absl::StrCat("has used up its quota of ", rate, " rows per second"), absl::Nanoseconds(owed));
      }
    } while (!paid_at_.compare_exchange_weak(paid_at, PaidAt(paid_at, time, rows, rate), std::memory_order_relaxed));
  }
  rows_.fetch_add(rows, std::memory_order_relaxed);
  return absl::OkStatus();
}

void ClientQuota::ChargeRows(uint64_t rows, absl::Time now) {
  if (const uint64_t rate = rows_per_second_.load(std::memory_order_relaxed); rate > 0) {
    const int64_t time = absl::ToUnixNanos(now);
    int64_t paid_at = paid_at_.load(std::memory_order_relaxed);
    while (!paid_at_.compare_exchange_weak(paid_at, PaidAt(paid_at, time, rows, rate), std::memory_order_relaxed)) {
    }
  }
  rows_.fetch_add(rows, std::memory_order_relaxed);
}

void ClientQuota::ReturnRows(uint64_t rows) {
  if (const uint64_t rate = rows_per_second_.load(std::memory_order_relaxed); rate > 0) {
    paid_at_.fetch_sub(Cost(rows, rate), std::memory_order_relaxed);
  }
  rows_.fetch_sub(rows, std::memory_order_relaxed);
}

bool ClientQuota::IsIdle(absl::Time now) const {
  return calls() == 0 && paid_at_.load(std::memory_order_relaxed) <= absl::ToUnixNanos(now) - kSavedNanoseconds;
}

absl::Status ClientQuota::BeginCall() {
  const uint64_t limit = max_calls_.load(std::memory_order_relaxed);
  if (AddWithin(calls_, 1, limit > 0 ? limit : std::numeric_limits<size_t>::max())) return absl::OkStatus();
  refused_calls_.fetch_add(1, std::memory_order_relaxed);
  return Refused(absl::StrCat("has ", limit, " calls in flight, as many as its quota allows"), kCallRetry);
}

absl::Status ClientQuota::Refused(const std::string& problem, absl::Duration retry_after) const {
  const std::string who = name_.empty() ? "this address" : absl::StrCat("the client ", Quote(name_));
  return ResourceExhausted(name_.empty() ? "address" : absl::StrCat("client:", name_), absl::StrCat(who, " ", problem),
                           retry_after);
}

}  // namespace densityd::serving
