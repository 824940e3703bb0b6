// Notices when nobody can connect any more.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/periodic.h"

namespace densityd::rpc {

/// Calls `probe` again and again, and `on_change` with what that says: false after two failures in a row, true after
/// the next success. Begins with true, untold. Both are called on a thread of its own, until this is destroyed.
class AcceptorWatch {
 public:
  using Probe = std::function<absl::Status()>;
  using OnChange = std::function<void(bool reachable)>;

  AcceptorWatch(Probe probe, absl::Duration interval, OnChange on_change);

 private:
  void Observe(const absl::Status& status);

  const Probe probe_;
  const OnChange on_change_;
  int failures_ = 0;
  Periodic watch_;
};

}  // namespace densityd::rpc
