// Which versions make room for which, when memory is short.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/base/memory_budget.h"
#include "tests/registry/model_manager_fixture.h"

namespace densityd::registry {
namespace {

using absl::StatusCode;
using testing::FakeLoader;
using ::testing::HasSubstr;
using testing::kVersionBytes;
using testing::ModelManagerTest;

TEST_F(ModelManagerTest, WhatNobodyNamesMakesRoomOldestFirst) {
  Start(/*versions=*/3);
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Train("power", i).ok());
  ASSERT_TRUE(Train("power", 4).ok());
  EXPECT_EQ(State("power@1"), density::v1::NOT_LOADED);
  EXPECT_EQ(Mark("power@2"), 2);
  EXPECT_EQ(Mark("power"), 4);
  EXPECT_EQ(loader_.alive(), 3);
}

TEST_F(ModelManagerTest, ALoadWaitsForCallsThatHoldWhatMakesRoomAndUnloadsNoMoreThanItNeeds) {
  Start(/*versions=*/3);
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Train("power", i).ok());
  auto handle = manager_->Acquire("power@1");
  const uint64_t next = Publish("power", 4);
  std::thread loading([&] { EXPECT_TRUE(manager_->OnPublished("power", next).ok()); });
  while (State("power@1") == density::v1::READY) std::this_thread::yield();
  handle = absl::CancelledError();
  loading.join();
  EXPECT_EQ(Mark("power"), 4);
  EXPECT_EQ(Mark("power@2"), 2);
}

TEST_F(ModelManagerTest, WhatIsNamedOrLoadedByHandMakesNoRoom) {
  Start(/*versions=*/3);
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Train("power", i).ok());
  ASSERT_TRUE(SetAlias("power", "stable", 1).ok());
  ASSERT_TRUE(manager_->Load("power@2").ok());
  const absl::Status status = Train("power", 4);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("30000 of 30000"));
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(Mark(absl::StrCat("power@", i)), i);
  ASSERT_TRUE(manager_->Unload("power@2").ok());
  EXPECT_TRUE(manager_->Load("power@4").ok());
}

TEST_F(ModelManagerTest, AVersionLargerThanAllMemoryIsRefusedAndEvictsNothing) {
  Start(/*versions=*/1);
  ASSERT_TRUE(Train("power", 1).ok());
  const auto refused = std::make_unique<ModelManager>(store_, loader_.AsLoader(), 10, ModelEvents{});
  EXPECT_EQ(refused->Load("power").status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Mark("power"), 1);
}

TEST_F(ModelManagerTest, NothingIsUnloadedWhereItWouldNotBeEnough) {
  Start(/*versions=*/2);
  ASSERT_TRUE(Train("gas", 1).ok());
  ASSERT_TRUE(Train("gas", 2).ok());
  EXPECT_TRUE(Train("gas", 3).ok()) << "the first makes room";
  EXPECT_EQ(AcquireCode("gas@1"), StatusCode::kFailedPrecondition);
  ASSERT_TRUE(SetAlias("gas", "stable", 2).ok());
  EXPECT_EQ(Train("power", 1).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Mark("gas@2"), 2);
  EXPECT_EQ(Mark("gas@3"), 3);
}

/// A manager whose versions share memory with requests.
class SharedMemoryTest : public ModelManagerTest {
 protected:
  void Share(size_t versions, absl::Duration patience) {
    ModelMemory memory(100 * kVersionBytes, &whole_);
    memory.patience = patience;
    manager_ = std::make_unique<ModelManager>(store_, loader_.AsLoader(), memory, ModelEvents{});
    ASSERT_TRUE(requests_.Reserve((kWhole - versions) * kVersionBytes, request_));
  }

  void TearDown() override { manager_.reset(); }  // before the memory that it is given

  static constexpr size_t kWhole = 4;
  MemoryBudget whole_{kWhole * kVersionBytes};
  MemoryBudget requests_{kWhole * kVersionBytes, &whole_};
  Reservation request_;
};

TEST_F(SharedMemoryTest, AVersionThatFindsTheMemoryTakenByRequestsIsToldWhenToComeBack) {
  Share(/*versions=*/1, /*patience=*/absl::ZeroDuration());
  ASSERT_TRUE(Train("power", 1).ok());
  const absl::Status refused = Train("gas", 1);
  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("40000 of 40000 (--max-memory)"));
  EXPECT_TRUE(refused.GetPayload("type.googleapis.com/google.rpc.RetryInfo").has_value());
  EXPECT_EQ(Mark("power"), 1) << "nothing was unloaded for it";
  request_.Release();
  EXPECT_TRUE(manager_->Load("gas").ok());
  EXPECT_EQ(whole_.used(), 2 * kVersionBytes);
  ASSERT_TRUE(manager_->Unload("gas@1").ok());
  EXPECT_EQ(whole_.used(), kVersionBytes);
}

TEST_F(SharedMemoryTest, ALoadWaitsForRequestsThatHoldTheMemory) {
  Share(/*versions=*/0, /*patience=*/absl::InfiniteDuration());
  const uint64_t version = Publish("power", 1);
  std::thread loading([&] { EXPECT_TRUE(manager_->OnPublished("power", version).ok()); });
  const auto is_loading = [&] {
    return absl::StrContains(manager_->Acquire("power@1").status().message(), "still loading");
  };
  while (!is_loading()) std::this_thread::yield();
  request_.Release();
  loading.join();
  EXPECT_EQ(Mark("power"), 1);
}

TEST_F(ModelManagerTest, ScratchMemoryCountsOnceAsTheLargest) {
  MemoryBudget whole(10 * kVersionBytes);
  FakeLoader large(kVersionBytes, /*scratch_bytes=*/2 * kVersionBytes);
  manager_ =
      std::make_unique<ModelManager>(store_, large.AsLoader(), ModelMemory(5 * kVersionBytes, &whole), ModelEvents{});
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Train(absl::StrCat("m", i), i).ok());
  EXPECT_EQ(whole.used(), 5 * kVersionBytes);
  EXPECT_EQ(Train("m4", 4).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(whole.used(), 5 * kVersionBytes);
  manager_.reset();
  EXPECT_EQ(whole.used(), 0u);
}

}  // namespace
}  // namespace densityd::registry
