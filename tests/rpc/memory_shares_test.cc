#include "server/rpc/memory_shares.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace densityd::rpc {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kProcess = 128 * kMiB;

TEST(MemoryShares, ThreeQuartersOfTheMachineAreForModelsAndRequests) {
  const auto shares = ShareMemory({.requests = 3 * kGiB}, 64 * kGiB, kProcess);
  ASSERT_TRUE(shares.ok()) << shares.status();
  EXPECT_EQ(shares->whole, 48 * kGiB);
  EXPECT_EQ(shares->requests, 3 * kGiB);
  EXPECT_EQ(shares->process, kProcess + kGiB / 2) << "and a sixth of what requests have, for what lies beside them";
  EXPECT_EQ(shares->models, 48 * kGiB - kProcess - 3 * kGiB);
}

TEST(MemoryShares, InASmallContainerRequestsLeaveHalfToModels) {
  const auto shares = ShareMemory({.requests = 2 * kGiB}, kGiB, kProcess);
  ASSERT_TRUE(shares.ok()) << shares.status();
  EXPECT_EQ(shares->whole, kGiB / 4 * 3);
  EXPECT_EQ(shares->requests, (shares->whole - kProcess) / 2);
  EXPECT_GE(shares->models, (shares->whole - shares->process) / 2);
  EXPECT_LE(shares->process + shares->models, shares->whole);
}

TEST(MemoryShares, WhatIsAskedForCounts) {
  const auto shares = ShareMemory({.whole = 8 * kGiB, .models = 7 * kGiB, .requests = 2 * kGiB}, 64 * kGiB, kProcess);
  ASSERT_TRUE(shares.ok()) << shares.status();
  EXPECT_EQ(shares->whole, 8 * kGiB);
  EXPECT_EQ(shares->models, 7 * kGiB) << "models and requests may ask for more than there is: who comes first has it";
  EXPECT_EQ(shares->requests, 2 * kGiB);
}

TEST(MemoryShares, NextToNothingIsRefusedWithWhatWouldDo) {
  for (const uint64_t whole : {uint64_t{1}, kProcess, kProcess + 32 * kMiB - 1}) {
    const auto shares = ShareMemory({.whole = whole}, 64 * kGiB, kProcess);
    EXPECT_EQ(shares.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(shares.status().message()), HasSubstr("at least 167772160"));
  }
  EXPECT_TRUE(ShareMemory({.whole = kProcess + 32 * kMiB}, 64 * kGiB, kProcess).ok());
}

}  // namespace
}  // namespace densityd::rpc
