#include "server/rpc/executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <vector>

#include "absl/synchronization/notification.h"

namespace densityd::rpc {
namespace {

TEST(Executor, FinishesWhatItAcceptedBeforeItGoes) {
  std::atomic<int> done{0};
  {
    Executor executor(3, 1000);
    for (int i = 0; i < 500; ++i) ASSERT_TRUE(executor.Run([&done] { ++done; }).ok());
  }
  EXPECT_EQ(done, 500);
}

TEST(Executor, RefusesMoreThanMayWaitAndRecovers) {
  absl::Notification release;
  absl::Notification started;
  absl::Notification last;
  Executor executor(1, 2);
  ASSERT_TRUE(executor
                  .Run([&] {
                    started.Notify();
                    release.WaitForNotification();
                  })
                  .ok());
  started.WaitForNotification();
  EXPECT_TRUE(executor.Run([] {}).ok());
  EXPECT_TRUE(executor.Run([&] { last.Notify(); }).ok());
  EXPECT_EQ(executor.Run([] {}).code(), absl::StatusCode::kResourceExhausted);
  release.Notify();
  last.WaitForNotification();
  EXPECT_TRUE(executor.Run([] {}).ok());
}

TEST(Executor, OfOneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    Executor executor(1, 100);
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(executor.Run([&order, i] { order.push_back(i); }).ok());
  }
  for (int i = 0; i < 50; ++i) EXPECT_EQ(order.at(i), i);
}

}  // namespace
}  // namespace densityd::rpc
