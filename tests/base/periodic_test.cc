#include "server/base/periodic.h"

#include <atomic>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace densityd {
namespace {

TEST(Periodic, WorksAgainAndAgain) {
  std::atomic<int> calls{0};
  absl::Notification enough;
  {
    const Periodic periodic(absl::Milliseconds(1), [&] {
      if (++calls == 3) enough.Notify();
    });
    enough.WaitForNotification();
  }
  const int at_the_end = calls;
  EXPECT_GE(at_the_end, 3);
  EXPECT_EQ(calls, at_the_end) << "nothing is called once it is gone";
}

TEST(Periodic, WaitsBeforeTheFirstCallAndEndsInAWait) {
  std::atomic<int> calls{0};
  {
    const Periodic periodic(absl::Hours(1), [&] { ++calls; });
  }
  EXPECT_EQ(calls, 0);
}

TEST(Periodic, ACallThatRunsIsWaitedFor) {
  absl::Notification begun;
  std::atomic<bool> ended{false};
  {
    const Periodic periodic(absl::ZeroDuration(), [&] {
      if (begun.HasBeenNotified()) return;
      begun.Notify();
      absl::SleepFor(absl::Milliseconds(20));
      ended = true;
    });
    begun.WaitForNotification();
  }
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace densityd
