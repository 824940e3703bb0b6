#include "server/base/background.h"

#include <thread>

#include "server/base/freed_memory.h"

#ifdef __linux__
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#endif

namespace densityd {
namespace {

#ifdef __linux__
/// A tenth of the weight of nice 0. Less would starve a load where all cores are busy: at SCHED_IDLE's weight, what
/// takes 50 ms would take 17 s.
constexpr int kNice = 10;
/// A thread runs for this long before it gives way to those that wake up with as long a slice as its own (Linux 6.12
/// and later; before it, nice alone decides). The usual slice is about 3 ms, and interrupts a longer one at once.
constexpr uint64_t kSliceNanoseconds = 100'000'000;

/// struct sched_attr of sched_setattr(2), which the C library does not declare everywhere; the version of 48 bytes.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = SCHED_OTHER;
  uint64_t flags = 0;
  int32_t nice = kNice;
  uint32_t priority = 0;
  uint64_t runtime = kSliceNanoseconds;
  uint64_t deadline = 0;
  uint64_t period = 0;
};
#endif

}  // namespace

void GiveWayToOthers() {
#ifdef __linux__
  const SchedulingAttributes attributes;
  // Advice: a system that knows no slices, or no such call in its sandbox, takes the nice value alone.
  if (syscall(SYS_sched_setattr, 0, &attributes, 0) == 0) return;
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNice);
#endif
}

void RunInBackground(const std::function<void()>& work) {
  std::thread([&work] {
    GiveWayToOthers();
    // From the beginning: what is made here is freed by another thread, and the next work may get another arena.
    const GivingMemoryBack back;
    work();
  }).join();
}

}  // namespace densityd
