// Which versions make room for which, when memory is short.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/registry/model_manager_fixture.h"

namespace densityd::registry {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;
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

}  // namespace
}  // namespace densityd::registry
