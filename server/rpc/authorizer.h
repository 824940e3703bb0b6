// Who calls, and whether he may.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/server_context.h"
#include "server/base/clock.h"
#include "server/base/file_system.h"
#include "server/base/periodic.h"
#include "server/rpc/grants.h"
#include "server/telemetry/rpc_method.h"

namespace densityd::rpc {

/// Who calls. Copies are cheap.
class Caller {
 public:
  /// Somebody who may do everything: no file of grants is in use.
  Caller() = default;
  explicit Caller(std::shared_ptr<const Grant> grant) : grant_(std::move(grant)) {}

  /// The name in the file of grants; empty where none is in use.
  std::string_view name() const { return grant_ == nullptr ? std::string_view() : grant_->name; }
  /// Whether what belongs to this model may be seen or changed by a call that was let in.
  bool MayTouch(std::string_view model) const { return grant_ == nullptr || grant_->Covers(model); }
  const Grant* grant() const { return grant_.get(); }

 private:
  std::shared_ptr<const Grant> grant_;
};

/// A caller and whether the call is let in; where it is not, the caller is known if and only if his credentials are
/// good.
struct Admission {
  Caller caller;
  absl::Status status;
};

/// The names in a client's certificate, which TLS has verified: alternative names first.
std::vector<std::string> CertificateNames(const grpc::ServerContextBase& context);

/// Reads the file of grants and reads it again when it changes. A file that became unreadable or wrong leaves the
/// grants as they were, and says so in the log. Thread-safe.
class Authorizer {
 public:
  /// `file` empty: everybody may do everything. INVALID_ARGUMENT naming the line; NOT_FOUND; FAILED_PRECONDITION where
  /// others than the owner and his group may write the file. `limits` are of grants that say nothing of theirs.
  static absl::StatusOr<std::unique_ptr<Authorizer>> Open(std::string file, const Clock& clock,
                                                          absl::Duration poll_interval = absl::Seconds(2),
                                                          serving::QuotaLimits limits = {});

  /// Who calls. UNAUTHENTICATED where the caller's credentials are not good.
  absl::StatusOr<Caller> Authenticate(const grpc::ServerContextBase& context) const;

  /// Who calls, and whether he may call `method` for `model` (a reference such as "power@stable", or empty where the
  /// call names none). UNAUTHENTICATED; PERMISSION_DENIED naming the right that is missing: never whether something
  /// exists.
  Admission Admit(const grpc::ServerContextBase& context, telemetry::RpcMethod method, std::string_view model) const;

  /// PERMISSION_DENIED unless what `caller`, who was let in, calls `method` for belongs to a model that he may touch:
  /// for calls that learn only later which model they are about.
  static absl::Status CheckModel(const Caller& caller, telemetry::RpcMethod method, std::string_view model);

  /// Whether a token has the right `metrics`. True where no file is in use.
  bool MayReadMetrics(std::string_view token) const;

  bool in_use() const { return !file_.empty(); }

  /// The accounts of all names in the file, by name.
  std::vector<std::shared_ptr<const serving::ClientQuota>> Quotas() const;

  /// Reads the file now if it has changed. The poll does this; tests need not wait for it.
  void Refresh();

 private:
  /// What tells one state of the file from another.
  struct Stamp {
    int64_t inode = 0;
    int64_t size = 0;
    int64_t nanoseconds = 0;
    bool operator==(const Stamp&) const = default;
  };

  Authorizer(std::string file, const Clock& clock, serving::QuotaLimits limits)
      : file_(std::move(file)), clock_(&clock), limits_(limits) {}
  absl::StatusOr<Stamp> ReadStamp() const;
  absl::Status Load();
  /// Gives each grant the account of its name, which outlives what the file said before.
  void AttachQuotas(Grants& grants) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::shared_ptr<const Grants> grants() const;
  absl::StatusOr<Caller> Identify(const grpc::ServerContextBase& context) const;

  const std::string file_;
  const Clock* const clock_;
  const serving::QuotaLimits limits_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const Grants> grants_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<serving::ClientQuota>> quotas_ ABSL_GUARDED_BY(mutex_);  ///< by name
  Stamp stamp_ ABSL_GUARDED_BY(mutex_);
  absl::Mutex loading_;  ///< one load at a time
  std::optional<Periodic> poll_;
};

}  // namespace densityd::rpc
