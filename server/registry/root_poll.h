// Looks again and again for what other processes did to the store.
#pragma once

#include <set>
#include <string>

#include "absl/time/time.h"
#include "server/base/periodic.h"
#include "server/registry/model_manager.h"

namespace densityd::registry {

/// Calls ReloadFromDisk at an interval, on a thread of its own, until destroyed. Polling, because notification does not
/// cross machines. What failed to load is not tried again by itself. A model that cannot be read is logged when that
/// begins and when it ends.
class RootPoll {
 public:
  RootPoll(ModelManager& models, absl::Duration interval);

 private:
  void Look();

  ModelManager& models_;
  /// Whose models could not be read at the last look; "" where that was so of the list of all.
  std::set<std::string> failing_;
  Periodic poll_;
};

}  // namespace densityd::registry
