#include "server/base/background.h"

#include <sys/resource.h>

#include <thread>

#include "gtest/gtest.h"

namespace densityd {
namespace {

/// Of the calling thread.
int Niceness() { return getpriority(PRIO_PROCESS, 0); }

TEST(BackgroundTest, WorkGivesWayAndTheCallerDoesNot) {
  const int before = Niceness();
  std::thread::id worker;
  int niceness = before;
  RunInBackground([&] {
    worker = std::this_thread::get_id();
    niceness = Niceness();
  });
  EXPECT_NE(worker, std::this_thread::get_id());
  EXPECT_GE(niceness, 10);
  EXPECT_EQ(Niceness(), before);
}

}  // namespace
}  // namespace densityd
