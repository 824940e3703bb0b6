// Readers and writers of the model manager at the same time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/registry/model_manager_fixture.h"

namespace densityd::registry {
namespace {

using testing::FakeServable;
using testing::ModelManagerTest;

TEST_F(ModelManagerTest, ReadersNeverSeeAGapOrAWrongVersionWhileVersionsComeAndGo) {
  Start(/*versions=*/4);
  ASSERT_TRUE(Train("power", 1).ok());
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      double last = 0;
      while (!stop) {
        const auto handle = manager_->Acquire("power");
        ASSERT_TRUE(handle.ok()) << handle.status();
        const double mark = static_cast<const FakeServable&>(*handle->servable).mark();
        ASSERT_EQ(mark, static_cast<double>(handle->version));
        ASSERT_GE(mark, last) << "latest never goes back";
        last = mark;
      }
    });
  }
  for (int version = 2; version <= 40; ++version) {
    EXPECT_TRUE(Train("power", version).ok());
    if (version % 3 != 0) continue;
    EXPECT_TRUE(manager_->Unload(absl::StrCat("power@", version - 1)).ok());
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_LE(loader_.alive(), 4);
}

TEST_F(ModelManagerTest, ConcurrentLoadsAndUnloadsKeepTheBooks) {
  Start(/*versions=*/2);
  for (int i = 1; i <= 4; ++i) Publish("power", i);
  manager_->LoadAll();
  std::vector<std::thread> threads;
  for (int i = 1; i <= 4; ++i) {
    threads.emplace_back([this, i] {
      const std::string reference = absl::StrCat("power@", i);
      for (int round = 0; round < 50; ++round) {
        const auto loaded = manager_->Load(reference);
        EXPECT_TRUE(loaded.ok() || absl::IsResourceExhausted(loaded.status())) << loaded.status();
        if (const auto handle = manager_->Acquire(reference); handle.ok()) {
          EXPECT_EQ(static_cast<const FakeServable&>(*handle->servable).mark(), i);
        }
        const auto unloaded = manager_->Unload(reference);
        EXPECT_TRUE(unloaded.ok()) << unloaded.status();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 1; i <= 4; ++i) {
    EXPECT_EQ(manager_->Unload(absl::StrCat("power@", i))->memory_bytes(), 0u);
  }
  EXPECT_EQ(loader_.alive(), 0);
  EXPECT_TRUE(manager_->Load("power@1").ok()) << "all memory was given back";
  EXPECT_TRUE(manager_->Load("power@2").ok());
}

}  // namespace
}  // namespace densityd::registry
