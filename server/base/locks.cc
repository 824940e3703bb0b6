#include "server/base/locks.h"

#include "absl/synchronization/mutex.h"

namespace densityd {

void ConfigureLocks() {
#ifdef NDEBUG
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
}

}  // namespace densityd
