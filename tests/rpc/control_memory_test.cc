// What control calls may hold while they wait: memory and threads.
#include "server/rpc/control_memory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/memory_budget.h"
#include "server/base/posix.h"
#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

constexpr uint64_t kMaxMessageBytes = 64 << 10;
/// Of those that Server has by default: the others are for calls that wait for nobody.
constexpr int kControlThreads = 3;
/// Of the size of a message that wait at once: half of kControlMessages, as there is one client.
constexpr int kWaiting = 4;

/// Who waits for a lock on `file`.
int Waiting(int file) {
  struct stat facts = {};
  fstat(file, &facts);
  const std::string inode = absl::StrCat(":", facts.st_ino, " ");
  std::ifstream locks("/proc/locks");
  int waiting = 0;
  for (std::string line; std::getline(locks, line);) {
    if (absl::StrContains(line, "->") && absl::StrContains(line, inode)) ++waiting;
  }
  return waiting;
}

template <typename Condition>
bool WaitUntil(const Condition& condition) {
  const absl::Time end = absl::Now() + absl::Seconds(60);
  while (!condition() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(1));
  return condition();
}

grpc::Status Train(TestServer& server, size_t bytes) {
  density::v1::TrainRequest request;
  request.set_model("m");
  request.mutable_rows()->set_f32_le(std::string(bytes, 'x'));
  density::v1::Training training;
  return server.estimator().Train(Context().get(), request, &training);
}

/// Holds the lock that those wait for who change aliases of the model m, until released.
class HeldAliases {
 public:
  explicit HeldAliases(const TestServer& server)
      : lock_(open((server.root() + "/models/m/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640)) {
    EXPECT_EQ(flock(lock_.get(), LOCK_EX), 0);
  }
  int waiting() const { return Waiting(lock_.get()); }
  void Release() { flock(lock_.get(), LOCK_UN); }

 private:
  FileDescriptor lock_;
};

grpc::Status SetAlias(TestServer& server) {
  density::v1::SetAliasRequest request;
  request.set_name("m");
  request.set_alias("stable");
  request.set_version(1);
  density::v1::Aliases aliases;
  return server.registry().SetAlias(Context().get(), request, &aliases);
}

TEST(ControlThreads, CallsThatWaitForOthersLeaveOneForThoseThatDoNot) {
  TestServer server;
  server.Publish("m", 1);
  HeldAliases held(server);
  std::vector<std::thread> threads;
  for (int i = 0; i < kControlThreads + 3; ++i) {
    threads.emplace_back([&] { EXPECT_TRUE(SetAlias(server).ok()); });
  }
  ASSERT_TRUE(WaitUntil([&] { return held.waiting() == kControlThreads; }));
  for (int i = 0; i < 10; ++i) {
    density::v1::ListModelsResponse models;
    EXPECT_TRUE(server.registry().List(Context().get(), {}, &models).ok());
  }
  EXPECT_EQ(held.waiting(), kControlThreads);
  held.Release();
  for (std::thread& thread : threads) thread.join();
}

TEST(ControlMemory, WaitingRequestsHoldNoMoreThanTheirBudget) {
  TestServer server({.limits = {.max_message_bytes = kMaxMessageBytes}});
  server.Publish("m", 1);
  // All threads that may wait do.
  HeldAliases held(server);
  std::vector<std::thread> threads;
  for (int i = 0; i < kControlThreads; ++i) {
    threads.emplace_back([&] { EXPECT_TRUE(SetAlias(server).ok()); });
  }
  ASSERT_TRUE(WaitUntil([&] { return held.waiting() == kControlThreads; }));

  std::atomic<int> refused = 0;
  std::atomic<int> done = 0;
  for (int i = 0; i < 3 * kWaiting; ++i) {
    threads.emplace_back([&] {
      const grpc::Status status = Train(server, kMaxMessageBytes - 1000);
      ++done;
      if (status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED) return;
      ++refused;
      EXPECT_THAT(status.error_details(), ::testing::HasSubstr("RetryInfo"));
    });
  }
  EXPECT_TRUE(WaitUntil([&] { return refused == 2 * kWaiting; })) << refused;
  // What is small finds room beside them, until its turn comes.
  threads.emplace_back([&] { EXPECT_EQ(Train(server, 4).error_code(), grpc::StatusCode::INVALID_ARGUMENT); });
  EXPECT_EQ(done, refused);
  held.Release();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refused, 2 * kWaiting);
  // All of it is given back when the server has heard that its answers went out.
  EXPECT_TRUE(WaitUntil(
      [&] { return Train(server, kMaxMessageBytes - 1000).error_code() == grpc::StatusCode::INVALID_ARGUMENT; }));
}

TEST(ControlMemory, NoClientHoldsMoreThanIsLeftForOthers) {
  MemoryBudget whole(1000);
  ControlMemory memory(800, &whole);
  std::vector<std::unique_ptr<ControlMemory::Share>> shares;
  const auto reserve = [&](uint64_t client, size_t bytes) {
    shares.push_back(std::make_unique<ControlMemory::Share>());
    return memory.Reserve(client, bytes, *shares.back());
  };
  EXPECT_EQ(reserve(1, 401).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(reserve(1, 300).ok());
  EXPECT_TRUE(reserve(1, 100).ok());
  EXPECT_EQ(reserve(1, 1).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(reserve(2, 200).ok()) << "half of the rest";
  EXPECT_TRUE(reserve(3, 100).ok());
  EXPECT_EQ(whole.used(), 700u);
  const absl::Status refused = reserve(4, 100);
  EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("700 of 800 bytes"));
  EXPECT_TRUE(refused.GetPayload("type.googleapis.com/google.rpc.RetryInfo").has_value());
  shares.clear();
  EXPECT_EQ(whole.used(), 0u);
  EXPECT_TRUE(reserve(1, 400).ok());
}

TEST(ControlMemory, EmptyMessagesHoldNothing) {
  ControlMemory memory(100, nullptr);
  ControlMemory::Share full;
  ASSERT_TRUE(memory.Reserve(1, 50, full).ok());
  for (int i = 0; i < 2; ++i) {
    ControlMemory::Share first;
    ControlMemory::Share second;
    EXPECT_TRUE(memory.Reserve(1, 0, first).ok());
    EXPECT_TRUE(memory.Reserve(2, 0, second).ok());
    ControlMemory::Share third;
    EXPECT_TRUE(memory.Reserve(2, 0, third).ok());
  }
  ControlMemory::Share rest;
  EXPECT_TRUE(memory.Reserve(2, 25, rest).ok());
}

TEST(ControlMemory, WhatIsLargerThanTheLimitIsRefusedByItsName) {
  TestServer server({.limits = {.max_message_bytes = kMaxMessageBytes}});
  const grpc::Status large = Train(server, kMaxMessageBytes + 1);
  EXPECT_EQ(large.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(large.error_message(), ::testing::HasSubstr("--max-message-bytes"));
  const auto context = Context();
  density::v1::ExportModelRequest request;
  request.set_model(std::string(20 << 10, 'm'));
  const auto reader = server.registry().Export(context.get(), request);
  density::v1::ExportModelResponse piece;
  EXPECT_FALSE(reader->Read(&piece));
  EXPECT_THAT(reader->Finish().error_message(), ::testing::HasSubstr("16384"));
}

}  // namespace
}  // namespace densityd::rpc
