// A request of one row allocates nothing in quota, scheduler and engine once both have seen their like. In a program of
// its own: it replaces operator new.
#include <atomic>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <new>
#include <vector>

#include "gtest/gtest.h"
#include "server/base/clock.h"
#include "server/engine/cpu/cpu_plan.h"
#include "server/serving/client_quota.h"
#include "server/serving/scheduler.h"
#include "tests/engine/cpu/models.h"
#include "tests/engine/cpu/run.h"

namespace {

std::atomic<uint64_t> allocations = 0;

}  // namespace

// Not inlined: the compiler would take malloc and free for a mismatch with new and delete.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace densityd::serving {
namespace {

namespace cpu = engine::cpu;

class Job : public RowJob {
 public:
  Job(std::shared_ptr<const engine::Plan> compiled, const cpu::Model& model, engine::Op operation, uint64_t who)
      : request{1, cpu::DataRows(model, 1, who), cpu::ContextRows(model, 1, who), who, 0} {
    plan = std::move(compiled);
    op = operation;
    client = who;
    span = cpu::SpanOf(*plan, op, request, answer);
    bytes = 100;
    deadline = absl::Now() + absl::Hours(1);
  }
  void Done(absl::Status status) override {
    memory.Release();
    ok = status.ok();
  }

  cpu::Rows request;
  cpu::Answer answer;
  bool ok = false;
};

TEST(ServingAllocationTest, ARequestOfOneRowAllocatesNothing) {
  constexpr size_t kJobs = 100;
  const cpu::Model model = cpu::RandomModel("maf", cpu::PresetSpec("maf", 6, 2, 3, 64), 4);
  auto compiled = cpu::CompileCpuPlan(model.spec, model.tensors);
  ASSERT_TRUE(compiled.ok()) << compiled.status().ToString();
  const std::shared_ptr<const engine::Plan> plan = *std::move(compiled);
  std::vector<std::unique_ptr<Job>> jobs;
  constexpr engine::Op kOps[] = {engine::Op::kLogProb, engine::Op::kInverse, engine::Op::kForward, engine::Op::kSample};
  for (size_t i = 0; i < kJobs; ++i) {
    jobs.push_back(std::make_unique<Job>(plan, model, kOps[i % std::size(kOps)], i % 10));
  }
  Scheduler scheduler({.workers = 1}, Clock::Real(), nullptr, nullptr);
  const auto quota =
      std::make_shared<ClientQuota>("client", QuotaLimits{.rows_per_second = uint64_t{1} << 40, .calls = kJobs});
  const auto submit = [&](Job& job) {
    CallInFlight call;
    return call.Begin(quota).ok() && quota->TakeRows(1, absl::Now()).ok() && scheduler.Submit(0, job).ok();
  };
  const auto one_by_one = [&] {
    for (const auto& job : jobs) {
      ASSERT_TRUE(submit(*job));
      while (scheduler.RunOne(0)) {
      }
    }
  };
  const auto together = [&] {
    for (const auto& job : jobs) ASSERT_TRUE(submit(*job));
    while (scheduler.RunOne(0)) {
    }
  };
  one_by_one();
  together();
  const uint64_t before = allocations;
  for (int i = 0; i < 10; ++i) {
    one_by_one();
    together();
  }
  EXPECT_EQ(allocations - before, 0u) << "in " << 20 * kJobs << " requests";
  for (const auto& job : jobs) EXPECT_TRUE(job->ok);
}

}  // namespace
}  // namespace densityd::serving
