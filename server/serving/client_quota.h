// What one client may use: rows per second, and calls in flight.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace densityd::serving {

struct QuotaLimits {
  uint64_t rows_per_second = 0;  ///< 0: no limit
  uint64_t calls = 0;            ///< in flight; 0: no limit

  bool any() const { return rows_per_second > 0 || calls > 0; }
  bool operator==(const QuotaLimits&) const = default;
};

/// The account of one client. Who owes nothing may ask for any number of rows, and then owes them at the rate of its
/// quota; what it did not use it may have later, for one second. So no request is too large for a quota, and the mean
/// over time keeps to the rate. Thread-safe and lock-free.
class alignas(64) ClientQuota {
 public:
  /// `name` is who this is, for messages and metrics; empty: an address.
  ClientQuota(std::string name, QuotaLimits limits);

  const std::string& name() const { return name_; }
  /// A number of its own, for the scheduler.
  uint64_t id() const { return id_; }
  void set_limits(QuotaLimits limits);

  /// Takes rows before they are queued; RESOURCE_EXHAUSTED, with the time until they may be asked for, where the client
  /// owes some still.
  absl::Status TakeRows(uint64_t rows, absl::Time now);
  /// Rows that a call which was let in turned out to need: they are owed, whatever is owed already.
  void ChargeRows(uint64_t rows, absl::Time now);
  /// Gives back rows that were taken and not queued.
  void ReturnRows(uint64_t rows);

  /// Whether forgetting this changes nothing: no call in flight, nothing owed or saved up.
  bool IsIdle(absl::Time now) const;

  // For metrics.
  uint64_t rows() const { return rows_.load(std::memory_order_relaxed); }
  size_t calls() const { return calls_.load(std::memory_order_relaxed); }
  uint64_t refused_rows() const { return refused_rows_.load(std::memory_order_relaxed); }  ///< times, not rows
  uint64_t refused_calls() const { return refused_calls_.load(std::memory_order_relaxed); }

 private:
  friend class CallInFlight;

  absl::Status BeginCall();
  void EndCall() { calls_.fetch_sub(1, std::memory_order_relaxed); }
  absl::Status Refused(const std::string& problem, absl::Duration retry_after) const;

  const std::string name_;
  const uint64_t id_;
  std::atomic<uint64_t> rows_per_second_{0};
  std::atomic<uint64_t> max_calls_{0};
  std::atomic<int64_t> paid_at_{0};  ///< when all rows so far are paid for, in nanoseconds since the epoch
  std::atomic<size_t> calls_{0};
  std::atomic<uint64_t> rows_{0};
  std::atomic<uint64_t> refused_rows_{0};
  std::atomic<uint64_t> refused_calls_{0};
};

/// A call that counts as one of its client's while this lives.
class CallInFlight {
 public:
  CallInFlight() = default;
  CallInFlight(CallInFlight&& other) noexcept = default;
  CallInFlight& operator=(CallInFlight&& other) noexcept {
    std::swap(quota_, other.quota_);
    return *this;
  }
  ~CallInFlight() {
    if (quota_ != nullptr) quota_->EndCall();
  }

  /// Counts the call in; RESOURCE_EXHAUSTED where its client has as many as it may have. `quota` may be null: nothing
  /// is counted. Call once.
  absl::Status Begin(std::shared_ptr<ClientQuota> quota) {
    if (quota == nullptr) return absl::OkStatus();
    absl::Status status = quota->BeginCall();
    if (status.ok()) quota_ = std::move(quota);
    return status;
  }

  /// Of the call that was counted in; null where none was.
  ClientQuota* quota() const { return quota_.get(); }

 private:
  std::shared_ptr<ClientQuota> quota_;
};

}  // namespace densityd::serving
