#include "server/training/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "server/training/rank_sockets.h"
#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using ::testing::ElementsAre;
using testing::FreePort;
using ::testing::HasSubstr;

constexpr char kHost[] = "127.0.0.1";

RankJoin JoinAs(uint32_t rank, uint32_t size, uint16_t port) {
  RankJoin join;
  join.place = {rank, size, kHost, port};
  join.agreement = "the same data";
  join.token = "secret";
  join.join_timeout = absl::Seconds(60);
  return join;
}

// Does `work` as every rank, each on a thread.
void AsRanks(uint32_t size, const std::function<void(Ranks&)>& work) {
  const uint16_t port = FreePort();
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < size; ++rank) {
    threads.emplace_back([&work, rank, size, port] {
      const auto ranks = Ranks::Join(JoinAs(rank, size, port));
      ASSERT_TRUE(ranks.ok()) << ranks.status();
      EXPECT_EQ((*ranks)->rank(), rank);
      EXPECT_EQ((*ranks)->size(), size);
      work(**ranks);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Numbers whose sums depend on the order of the additions.
float NumberOf(uint32_t rank, size_t i) {
  return (rank % 2 == 0 ? 1e8F : -1e8F) + static_cast<float>(rank * 7 + i % 13);
}

TEST(RanksTest, SumsAreAddedInTheOrderOfTheRanks) {
  for (const uint32_t size : {2, 3, 5}) {
    // Fewer numbers than ranks, and more than a socket holds at once.
    for (const size_t count : {size_t{1}, size_t{2}, size_t{1000}, size_t{3'000'001}}) {
      AsRanks(size, [&](Ranks& ranks) {
        std::vector<float> numbers(count);
        for (size_t i = 0; i < count; ++i) numbers[i] = NumberOf(ranks.rank(), i);
        // In pieces, some of them empty.
        const size_t cut = count / 3;
        const absl::Span<float> all = absl::MakeSpan(numbers);
        const auto given = ranks.Sum({all.first(cut), all.subspan(cut, 0), all.subspan(cut)}, 0.5 * ranks.rank());
        ASSERT_TRUE(given.ok()) << given.status();
        for (uint32_t rank = 0; rank < size; ++rank) EXPECT_EQ((*given)[rank], 0.5 * rank);
        for (size_t i = 0; i < count; ++i) {
          float expected = NumberOf(0, i);
          for (uint32_t rank = 1; rank < size; ++rank) expected += NumberOf(rank, i);
          ASSERT_EQ(numbers[i], expected) << i;
        }
      });
    }
  }
}

TEST(RanksTest, WhatAllHaveGivenComesInTheirOrder) {
  AsRanks(3, [](Ranks& ranks) {
    EXPECT_THAT(ranks.GatherNumber(0.5 * ranks.rank()).value(), ElementsAre(0, 0.5, 1));
    EXPECT_THAT(ranks.Gather(std::string(ranks.rank(), 'x')).value(), ElementsAre("", "x", "xx"));
  });
}

TEST(RanksTest, OneThatEndsIsToldToAllOthers) {
  std::atomic<int> told = 0;
  AsRanks(3, [&](Ranks& ranks) {
    if (ranks.rank() == 1) return;
    const absl::Status status = ranks.GatherNumber(0).status();
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    told += status.message() == "rank 1 of 3 has ended; its own log says why" ? 1 : 0;
  });
  EXPECT_GE(told, 1);  // another may hear first of the one that left because of rank 1
}

TEST(RanksTest, OneThatFallsSilentIsTold) {
  const uint16_t port = FreePort();
  std::atomic<bool> is_over = false;
  std::thread silent([&] {
    const auto ranks = Ranks::Join(JoinAs(1, 2, port));
    ASSERT_TRUE(ranks.ok()) << ranks.status();
    while (!is_over) std::this_thread::yield();
  });
  RankJoin join = JoinAs(0, 2, port);
  join.silence_timeout = absl::Milliseconds(50);
  const auto ranks = Ranks::Join(join);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  EXPECT_EQ((*ranks)->GatherNumber(0).status().message(), "rank 1 of 2 has said nothing for 50ms");
  is_over = true;
  silent.join();
}

TEST(RanksTest, OneThatDoesNotComeIsNamed) {
  RankJoin join = JoinAs(0, 2, FreePort());
  join.join_timeout = absl::Milliseconds(50);
  const absl::Status missing = Ranks::Join(join).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(missing));
  EXPECT_THAT(std::string(missing.message()), HasSubstr("rank 1 of 2 has not come"));
  join.place.rank = 1;
  const absl::Status no_master = Ranks::Join(join).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(no_master));
  EXPECT_THAT(std::string(no_master.message()), HasSubstr("rank 0 was not at 127.0.0.1"));
}

TEST(RanksTest, WaitingEndsWhenItIsToStop) {
  RankJoin join = JoinAs(0, 2, FreePort());
  join.is_stopped = [] { return true; };
  EXPECT_TRUE(absl::IsCancelled(Ranks::Join(join).status()));
}

TEST(RanksTest, RanksOfDifferentDataDoNotTrain) {
  const uint16_t port = FreePort();
  absl::Status other;
  std::thread thread([&] {
    RankJoin join = JoinAs(1, 2, port);
    join.agreement = "other data";
    other = Ranks::Join(join).status();
  });
  const absl::Status status = Ranks::Join(JoinAs(0, 2, port)).status();
  thread.join();
  for (const absl::Status& one : {status, other}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(one)) << one;
    EXPECT_THAT(std::string(one.message()), HasSubstr("it has other data, and rank 0 has the same data"));
  }
}

TEST(RanksTest, StrangersAreSentAwayAndTheOthersTrain) {
  const uint16_t port = FreePort();
  std::thread first([&] { EXPECT_TRUE(Ranks::Join(JoinAs(0, 2, port)).ok()); });
  RankJoin stranger = JoinAs(1, 2, port);
  stranger.token = "guess";
  EXPECT_TRUE(absl::IsUnavailable(Ranks::Join(stranger).status()));
  const auto noise = ConnectTo(kHost, port, {});
  ASSERT_TRUE(SendMessage(noise->get(), std::string("\0\xff\n\n\n", 5), {}).ok());
  EXPECT_TRUE(Ranks::Join(JoinAs(1, 2, port)).ok());
  first.join();
}

class RankPlaceTest : public ::testing::Test {
 protected:
  void SetUp() override { Set("1", "2", "example", "29500"); }
  void TearDown() override {
    for (const char* name : {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}) unsetenv(name);
  }
  static void Set(const char* rank, const char* size, const char* address, const char* port) {
    setenv("RANK", rank, 1);
    setenv("WORLD_SIZE", size, 1);
    setenv("MASTER_ADDR", address, 1);
    setenv("MASTER_PORT", port, 1);
  }
};

TEST_F(RankPlaceTest, IsReadFromTheEnvironment) {
  const auto place = RankPlaceFromEnvironment();
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_EQ(place->rank, 1);
  EXPECT_EQ(place->world_size, 2);
  EXPECT_EQ(place->master_address, "example");
  EXPECT_EQ(place->master_port, 29500);
  TearDown();
  EXPECT_EQ(RankPlaceFromEnvironment()->world_size, 1);
}

TEST_F(RankPlaceTest, WhatIsWrongIsNamed) {
  const auto bad = [] { return testing::BadField(RankPlaceFromEnvironment().status()); };
  Set("2", "2", "example", "29500");
  EXPECT_EQ(bad(), "RANK");
  Set("0", "many", "example", "29500");
  EXPECT_EQ(bad(), "WORLD_SIZE");
  Set("0", "2", "", "29500");
  EXPECT_EQ(bad(), "MASTER_ADDR");
  Set("0", "2", "example", "65536");
  EXPECT_EQ(bad(), "MASTER_PORT");
}

}  // namespace
}  // namespace densityd::training
