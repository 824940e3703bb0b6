#include "server/base/memory_budget.h"

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace densityd {
namespace {

TEST(MemoryBudget, WhatFitsIsReservedAndGivenBack) {
  MemoryBudget budget(100);
  {
    Reservation reservation;
    ASSERT_TRUE(budget.Reserve(60, reservation));
    EXPECT_FALSE(budget.Reserve(101, reservation));
    EXPECT_EQ(reservation.bytes(), 60u) << "it stays as it was";
    Reservation other;
    EXPECT_FALSE(budget.Reserve(41, other));
    EXPECT_TRUE(budget.Reserve(40, other));
    EXPECT_TRUE(budget.Reserve(10, reservation));
    EXPECT_EQ(budget.used(), 50u);
    Reservation moved = std::move(other);
    EXPECT_EQ(budget.used(), 50u);
  }
  EXPECT_EQ(budget.used(), 0u);
}

TEST(MemoryBudget, PartsHaveTheirOwnCeilingsAndTheWholesTogether) {
  MemoryBudget whole(100);
  MemoryBudget models(80, &whole);
  MemoryBudget requests(80, &whole);
  Reservation model;
  Reservation request;
  EXPECT_FALSE(models.Reserve(81, model));
  ASSERT_TRUE(models.Reserve(70, model));
  EXPECT_FALSE(requests.Reserve(31, request)) << "the whole has 30 left";
  EXPECT_EQ(requests.used(), 0u) << "a refusal leaves nothing counted";
  EXPECT_EQ(whole.used(), 70u);
  ASSERT_TRUE(requests.Reserve(30, request));
  EXPECT_EQ(whole.used(), 100u);
  ASSERT_TRUE(models.Reserve(20, model));
  EXPECT_TRUE(requests.Reserve(80, request));
  request.Release();
  model.Release();
  EXPECT_EQ(whole.used(), 0u);
  EXPECT_EQ(models.used() + requests.used(), 0u);
}

TEST(MemoryBudget, WhatWouldFitOnceSomeIsFreed) {
  MemoryBudget budget(100);
  Reservation reservation;
  ASSERT_TRUE(budget.Reserve(90, reservation));
  EXPECT_TRUE(budget.WouldFit(10));
  EXPECT_FALSE(budget.WouldFit(11));
  EXPECT_TRUE(budget.WouldFit(11, /*freed=*/1));
  EXPECT_TRUE(budget.WouldFit(100, /*freed=*/1000));
  EXPECT_FALSE(budget.WouldFit(101, /*freed=*/1000));
}

TEST(MemoryBudget, ThreadsNeverHoldMoreThanThereIs) {
  constexpr size_t kCeiling = 1000;
  MemoryBudget whole(kCeiling);
  MemoryBudget parts[] = {MemoryBudget(kCeiling, &whole), MemoryBudget(kCeiling / 2, &whole)};
  std::atomic<size_t> held{0};
  std::atomic<bool> exceeded{false};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 20'000; ++i) {
        const size_t bytes = (i * 37 + t * 101) % 600;
        Reservation reservation;
        if (!parts[t % 2].Reserve(bytes, reservation)) continue;
        if (held.fetch_add(bytes) + bytes > kCeiling) exceeded = true;
        held.fetch_sub(bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(exceeded);
  EXPECT_EQ(whole.used(), 0u);
  EXPECT_EQ(parts[0].used() + parts[1].used(), 0u);
}

}  // namespace
}  // namespace densityd
