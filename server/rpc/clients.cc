#include "server/rpc/clients.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/address_key.h"

namespace densityd::rpc {

using serving::ClientQuota;

Client Clients::Of(const grpc::ServerContextBase& context, const std::string& peer, const Caller& caller) {
  if (caller.grant() != nullptr && caller.grant()->quota != nullptr) {
    return {caller.grant()->quota->id(), caller.grant()->quota};
  }
  std::string name;
  if (certificates_) {
    if (std::vector<std::string> names = CertificateNames(context); !names.empty()) name = std::move(names.front());
  }
  const std::string key = name.empty() ? AddressKey(peer) : absl::StrCat("certificate ", name);
  const uint64_t id = std::hash<std::string>()(key);
  if (!limits_.any()) return {id, nullptr};
  return {id, Find(key, name, id)};
}

std::shared_ptr<ClientQuota> Clients::Find(const std::string& key, const std::string& name, uint64_t id) {
  Shard& shard = shards_[id % shards_.size()];
  absl::MutexLock lock(&shard.mutex);
  const auto found = shard.quotas.find(key);
  if (found != shard.quotas.end()) return found->second;
  if (shard.quotas.size() >= shard.sweep_at) {
    const absl::Time now = clock_->Now();
    absl::erase_if(shard.quotas, [now](const auto& entry) {
      // What a call holds besides may be about to be used.
      return entry.second.use_count() == 1 && entry.second->IsIdle(now);
    });
    shard.sweep_at = std::max<size_t>(64, 2 * shard.quotas.size());
  }
  auto quota = std::make_shared<ClientQuota>(name, limits_);
  shard.quotas.emplace(key, quota);
  return quota;
}

}  // namespace densityd::rpc
