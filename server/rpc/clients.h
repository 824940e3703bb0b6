// Who a call is of, as shares and quotas count it: the name in the file of grants, else the client's certificate, else
// the address. Whoever opens many connections is still one client.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/server_context.h"
#include "server/base/clock.h"
#include "server/rpc/authorizer.h"
#include "server/serving/client_quota.h"

namespace densityd::rpc {

struct Client {
  uint64_t id = 0;                              ///< for the scheduler
  std::shared_ptr<serving::ClientQuota> quota;  ///< null: nothing is limited or counted
};

/// Thread-safe. A client that the file of grants names costs no lock and no look-up; others one of many locks, and only
/// where they have limits.
class Clients {
 public:
  /// `limits` are of those who have no quota of their own. `certificates`: who connects shows one.
  Clients(serving::QuotaLimits limits, bool certificates, const Clock& clock)
      : limits_(limits), certificates_(certificates), clock_(&clock) {}

  /// The client behind a call from `peer` that was let in as `caller`'s.
  Client Of(const grpc::ServerContextBase& context, const std::string& peer, const Caller& caller);

 private:
  struct alignas(64) Shard {
    absl::Mutex mutex;
    absl::flat_hash_map<std::string, std::shared_ptr<serving::ClientQuota>> quotas ABSL_GUARDED_BY(mutex);
    size_t sweep_at ABSL_GUARDED_BY(mutex) = 64;  ///< at this many the idle ones are forgotten
  };

  /// The quota of `key`, who is called `name`.
  std::shared_ptr<serving::ClientQuota> Find(const std::string& key, const std::string& name, uint64_t id);

  const serving::QuotaLimits limits_;
  const bool certificates_;
  const Clock* const clock_;
  std::array<Shard, 16> shards_;
};

}  // namespace densityd::rpc
