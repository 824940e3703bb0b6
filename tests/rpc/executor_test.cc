#include "server/rpc/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/synchronization/notification.h"

namespace densityd::rpc {
namespace {

using Kind = Executor::Kind;

constexpr Executor::Label kAnybody;

/// Keeps a thread of an executor until released.
class Blocker {
 public:
  explicit Blocker(Executor& executor, Kind kind = Kind::kShort, uint64_t client = 99) {
    const auto block = [state = state_] {
      state->started.Notify();
      state->release.WaitForNotification();
    };
    EXPECT_TRUE(executor.Run(block, {.client = client, .kind = kind}).ok());
  }
  ~Blocker() {
    if (!state_->release.HasBeenNotified()) Release();
  }
  void AwaitStart() { state_->started.WaitForNotification(); }
  bool HasStarted() const { return state_->started.HasBeenNotified(); }
  void Release() { state_->release.Notify(); }

 private:
  struct State {
    absl::Notification started;
    absl::Notification release;
  };
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

TEST(Executor, FinishesWhatItAcceptedBeforeItGoes) {
  std::atomic<int> done{0};
  {
    Executor executor(3, 2000);
    for (int i = 0; i < 500; ++i) {
      const Executor::Label label = {.client = static_cast<uint64_t>(i % 7),
                                     .kind = i % 2 ? Kind::kLong : Kind::kShort};
      ASSERT_TRUE(executor.Run([&done] { ++done; }, label).ok());
    }
  }
  EXPECT_EQ(done, 500);
}

TEST(Executor, RefusesMoreThanMayWaitAndRecovers) {
  absl::Notification last;
  Executor executor(1, 4);
  Blocker blocker(executor);
  blocker.AwaitStart();
  EXPECT_TRUE(executor.Run([] {}, kAnybody).ok());
  EXPECT_TRUE(executor.Run([&] { last.Notify(); }, kAnybody).ok());
  EXPECT_EQ(executor.Run([] {}, kAnybody).code(), absl::StatusCode::kResourceExhausted);
  blocker.Release();
  last.WaitForNotification();
  EXPECT_TRUE(executor.Run([] {}, kAnybody).ok());
}

TEST(Executor, WhoSendsTooMuchKeepsNobodyOut) {
  Executor executor(1, 100);
  Blocker blocker(executor);
  blocker.AwaitStart();
  const auto fill = [&](uint64_t client) {
    int accepted = 0;
    while (executor.Run([] {}, {.client = client}).ok()) ++accepted;
    return accepted;
  };
  EXPECT_EQ(fill(1), 50);
  EXPECT_EQ(fill(2), 25);
  for (uint64_t client = 3; client < 8; ++client) EXPECT_TRUE(executor.Run([] {}, {.client = client}).ok());
  EXPECT_FALSE(executor.Run([] {}, {.client = 1}).ok());
}

TEST(Executor, StepsOfCallsUnderWayAreNeverRefused) {
  std::atomic<int> done{0};
  {
    Executor executor(1, 2);
    Blocker blocker(executor);
    blocker.AwaitStart();
    while (executor.Run([] {}, kAnybody).ok()) continue;
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(executor.Run([&done] { ++done; }, {.under_way = true}).ok());
  }
  EXPECT_EQ(done, 10);
}

TEST(Executor, ClientsTakeTurns) {
  std::vector<uint64_t> order;
  {
    Executor executor(1, 100);
    Blocker blocker(executor);
    blocker.AwaitStart();
    for (const uint64_t client : {1, 1, 1, 1, 2, 2, 3}) {
      ASSERT_TRUE(executor.Run([&order, client] { order.push_back(client); }, {.client = client}).ok());
    }
  }
  EXPECT_THAT(order, ::testing::ElementsAre(1, 2, 3, 1, 2, 1, 1));
}

TEST(Executor, ClientsTakeTurnsWhateverTheirWorkIs) {
  std::vector<uint64_t> order;
  {
    Executor executor(1, 100);
    Blocker blocker(executor);
    blocker.AwaitStart();
    const auto add = [&](uint64_t client, Kind kind) {
      ASSERT_TRUE(executor.Run([&order, client] { order.push_back(client); }, {.client = client, .kind = kind}).ok());
    };
    for (int i = 0; i < 3; ++i) add(1, Kind::kShort);
    for (int i = 0; i < 3; ++i) add(2, Kind::kLong);
    add(3, Kind::kShort);
  }
  EXPECT_THAT(order, ::testing::ElementsAre(1, 2, 3, 1, 2, 1, 2));
}

TEST(Executor, WhoComesLaterDoesNotWaitForAllThatCameBefore) {
  std::vector<uint64_t> order;
  {
    Executor executor(1, 100);
    const auto add = [&](uint64_t client) {
      ASSERT_TRUE(executor.Run([&order, client] { order.push_back(client); }, {.client = client}).ok());
    };
    Blocker first(executor);
    first.AwaitStart();
    for (int i = 0; i < 3; ++i) add(1);
    Blocker second(executor, Kind::kShort, /*client=*/1);
    for (int i = 0; i < 3; ++i) add(1);
    first.Release();
    second.AwaitStart();
    for (int i = 0; i < 2; ++i) add(2);
  }
  EXPECT_THAT(order, ::testing::ElementsAre(1, 1, 1, 1, 2, 1, 2, 1));
}

TEST(Executor, WhoSendsOneAtATimeDoesNotOvertake) {
  std::vector<uint64_t> order;
  absl::Notification last;
  Executor executor(1, 100);
  Blocker blocker(executor);
  blocker.AwaitStart();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(executor.Run([&order] { order.push_back(1); }, {.client = 1}).ok());
  }
  const std::function<void(int)> send = [&](int more) {
    const auto work = [&, more] {
      order.push_back(2);
      if (more == 0) return last.Notify();
      send(more - 1);
    };
    ASSERT_TRUE(executor.Run(work, {.client = 2}).ok());
  };
  send(4);
  blocker.Release();
  last.WaitForNotification();
  EXPECT_THAT(order, ::testing::ElementsAre(1, 2, 1, 2, 1, 2, 2, 2));
}

TEST(Executor, WhatMayWaitForOthersLeavesAThreadForWhatDoesNot) {
  Executor executor(3, 100);
  std::vector<std::unique_ptr<Blocker>> blockers;
  for (int i = 0; i < 4; ++i) blockers.push_back(std::make_unique<Blocker>(executor, Kind::kLong));
  blockers[0]->AwaitStart();
  blockers[1]->AwaitStart();
  for (int i = 0; i < 100; ++i) {
    absl::Notification done;
    ASSERT_TRUE(executor.Run([&] { done.Notify(); }, kAnybody).ok());
    done.WaitForNotification();
  }
  EXPECT_FALSE(blockers[2]->HasStarted());
  blockers[0]->Release();
  blockers[2]->AwaitStart();
  for (size_t i = 1; i < blockers.size(); ++i) blockers[i]->Release();
  blockers[3]->AwaitStart();
}

TEST(Executor, OfOneThreadDoesWhatMayWaitAsWell) {
  std::vector<int> order;
  {
    Executor executor(1, 1000);
    for (int i = 0; i < 50; ++i) {
      ASSERT_TRUE(executor.Run([&order, i] { order.push_back(i); }, {.kind = i % 2 ? Kind::kLong : Kind::kShort}).ok());
    }
  }
  for (int i = 0; i < 50; ++i) EXPECT_EQ(order.at(i), i);
}

}  // namespace
}  // namespace densityd::rpc
