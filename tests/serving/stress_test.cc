// Many threads and random mixes, compared with direct computation. Meant to be run under ThreadSanitizer too.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "server/serving/scheduler.h"
#include "tests/serving/fakes.h"

namespace densityd::serving {
namespace {

using engine::Op;

std::unique_ptr<TestJob> RandomJob(std::mt19937_64& random, const std::vector<std::shared_ptr<FakePlan>>& plans) {
  const size_t kind = random() % 10;
  const size_t rows = kind < 6 ? 1 + random() % 8 : kind < 9 ? 1 + random() % 300 : 1 + random() % 3000;
  auto job = std::make_unique<TestJob>(plans[random() % plans.size()], rows, static_cast<Op>(random() % 4),
                                       static_cast<double>(random() % 1000000));
  if (job->op != Op::kSample && random() % 50 == 0) job->input[random() % rows] = kPoison;
  return job;
}

bool IsPoisoned(const TestJob& job) {
  return std::find(job.input.begin(), job.input.end(), kPoison) != job.input.end();
}

/// OK with the right numbers, or failed for a reason of its own.
void ExpectRightAnswer(const TestJob& job) {
  EXPECT_EQ(job.times_done, 1);
  switch (job.status.code()) {
    case absl::StatusCode::kOk:
      EXPECT_FALSE(IsPoisoned(job));
      EXPECT_TRUE(job.IsRight());
      break;
    case absl::StatusCode::kInternal:
      EXPECT_TRUE(IsPoisoned(job));
      break;
    case absl::StatusCode::kCancelled:
      EXPECT_TRUE(job.cancelled);
      break;
    case absl::StatusCode::kDeadlineExceeded:
      EXPECT_LT(job.deadline, absl::InfiniteFuture());
      break;
    default:
      ADD_FAILURE() << job.status;
  }
}

TEST(SchedulerFuzz, RandomMixesGiveEveryRequestItsOwnAnswerExactlyOnce) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    std::mt19937_64 random(seed);
    FakeClock clock;
    CountingObserver observer;
    std::vector<std::shared_ptr<FakePlan>> plans;
    for (const size_t tile : {1, 16, 64, 100}) {
      plans.push_back(std::make_shared<FakePlan>(&clock, tile, 1.0 + static_cast<double>(tile)));
      plans.back()->row_time = absl::Microseconds(random() % 20);
    }
    const int workers = 1 + static_cast<int>(random() % 4);
    Scheduler scheduler({.workers = workers, .max_queued_rows = 20000}, clock, &observer, [](int) {});
    std::vector<std::unique_ptr<TestJob>> jobs;
    size_t admitted = 0;
    for (int step = 0; step < 300; ++step) {
      const int worker = static_cast<int>(random() % workers);
      if (random() % 3 != 0) {
        auto job = RandomJob(random, plans);
        if (random() % 3 == 0) job->priority = Priority::kBatch;
        if (random() % 4 == 0) job->deadline = clock.Now() + absl::Microseconds(random() % 20000);
        if (scheduler.Submit(worker, *job).ok()) {
          ++admitted;
          jobs.push_back(std::move(job));
        }
      } else {
        scheduler.RunOne(worker);
      }
      if (random() % 10 == 0 && !jobs.empty()) jobs[random() % jobs.size()]->cancelled = true;
    }
    for (int worker = 0; worker < workers; ++worker) Drain(scheduler, worker);
    for (const auto& job : jobs) ExpectRightAnswer(*job);
    EXPECT_GT(admitted, 50u);
    EXPECT_EQ(scheduler.queued_rows(), 0u);
    EXPECT_EQ(scheduler.queued_bytes(), 0u);
    ASSERT_FALSE(testing::Test::HasFailure()) << "seed " << seed;
  }
}

/// A worker's thread: sleeps when there is nothing, until it is woken.
class WorkerLatch {
 public:
  void Wake() {
    std::lock_guard lock(mutex_);
    awake_ = true;
    condition_.notify_one();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [this] { return awake_; });
    awake_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool awake_ = false;
};

TEST(SchedulerStress, ManyThreadsLoseNoJobAndNoWakeUp) {
  constexpr int kWorkers = 4;
  constexpr int kJobsPerWorker = 4000;
  std::vector<std::shared_ptr<FakePlan>> plans;
  for (const size_t tile : {16, 64})
    plans.push_back(std::make_shared<FakePlan>(nullptr, tile, 1.0 + static_cast<double>(tile)));
  std::vector<WorkerLatch> latches(kWorkers);
  CountingObserver observer;
  Scheduler scheduler({.workers = kWorkers, .max_queued_rows = 100000}, Clock::Real(), &observer,
                      [&](int worker) { latches[worker].Wake(); });
  std::atomic<int> open{kWorkers * kJobsPerWorker};
  const auto close_one = [&] {
    if (open.fetch_sub(1) != 1) return;
    for (WorkerLatch& latch : latches) latch.Wake();
  };
  std::mt19937_64 random(1);
  std::vector<std::unique_ptr<TestJob>> jobs;
  for (int i = 0; i < kWorkers * kJobsPerWorker; ++i) {
    jobs.push_back(RandomJob(random, plans));
    jobs.back()->on_done = close_one;
  }
  const auto submit = [&](int worker, TestJob& job) {
    absl::Status status;
    while (absl::IsResourceExhausted(status = scheduler.Submit(worker, job))) {
      if (!scheduler.RunOne(worker)) std::this_thread::yield();
    }
    if (!status.ok()) job.Done(status);  // refused: the scheduler does not say so again
  };
  std::vector<std::thread> threads;
  for (int worker = 0; worker < kWorkers; ++worker) {
    threads.emplace_back([&, worker] {
      std::mt19937_64 random(worker);
      for (int i = 0; i < kJobsPerWorker; ++i) {
        TestJob& job = *jobs[worker * kJobsPerWorker + i];
        if (random() % 3 == 0) job.priority = Priority::kBatch;
        if (random() % 20 == 0) job.deadline = absl::Now() + absl::Microseconds(random() % 1000);
        submit(worker, job);
        if (random() % 4 == 0) scheduler.RunOne(worker);
      }
      while (open.load() > 0) {
        if (!scheduler.RunOne(worker) && open.load() > 0) latches[worker].Wait();
      }
    });
  }
  threads.emplace_back([&] {
    std::mt19937_64 random(99);
    for (size_t i = 0; i < jobs.size() / 5 && open.load() > 0; ++i) {
      jobs[random() % jobs.size()]->cancelled = true;
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  for (const auto& job : jobs) ExpectRightAnswer(*job);
  EXPECT_EQ(scheduler.queued_rows(), 0u);
  EXPECT_EQ(scheduler.queued_bytes(), 0u);
}

}  // namespace
}  // namespace densityd::serving
