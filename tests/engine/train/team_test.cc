#include "server/engine/train/team.h"

#include <atomic>
#include <vector>

#include "gtest/gtest.h"

namespace densityd::engine::train {
namespace {

TEST(TeamTest, CallsEachItemOnceInEachRound) {
  for (const size_t members : {1, 2, 5}) {
    Team team(members);
    EXPECT_EQ(team.members(), members);
    for (const size_t count : {0, 1, 2, 100}) {
      std::vector<std::atomic<int>> calls(count);
      std::atomic<bool> knows_members = true;
      team.Run(count, [&](size_t item, size_t member) {
        ++calls[item];
        if (member >= members) knows_members = false;
      });
      for (const std::atomic<int>& call : calls) EXPECT_EQ(call, 1);
      EXPECT_TRUE(knows_members);
    }
  }
}

TEST(TeamTest, WhatWasDoneIsSeenAfterTheRound) {
  Team team(3);
  std::vector<size_t> sums(64);
  for (size_t round = 0; round < 2000; ++round) team.Run(sums.size(), [&](size_t i, size_t) { sums[i] += i; });
  for (size_t i = 0; i < sums.size(); ++i) EXPECT_EQ(sums[i], 2000 * i);
}

}  // namespace
}  // namespace densityd::engine::train
