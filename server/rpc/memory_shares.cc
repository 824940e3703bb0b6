#include "server/rpc/memory_shares.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace densityd::rpc {
namespace {

/// With less a server could not do anything worth doing.
constexpr uint64_t kLeast = uint64_t{32} << 20;

}  // namespace

absl::StatusOr<MemoryShares> ShareMemory(const MemoryWishes& wishes, uint64_t machine, uint64_t process) {
  const uint64_t whole = wishes.whole > 0 ? wishes.whole : machine / 4 * 3;
  if (whole < process || whole - process < kLeast) {
    return InvalidArgument("--max-memory", absl::StrCat(whole, " bytes do not do: the process itself has ", process,
                                                        "; allow at least ", process + kLeast));
  }
  MemoryShares shares;
  shares.whole = whole;
  shares.requests = std::min(wishes.requests, (whole - process) / 2);
  const uint64_t beside = shares.requests / kPartBeside;
  shares.process = process + beside;
  const uint64_t shared = whole - shares.process;
  shares.models = wishes.models > 0 ? wishes.models : std::max(shared / 2, shared - (shares.requests - beside));
  return shares;
}

}  // namespace densityd::rpc
