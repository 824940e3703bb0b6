// Run does not allocate once its workspace has grown. In a program of its own: it replaces operator new.
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/cpu/cpu_plan.h"
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

namespace densityd::engine::cpu {
namespace {

TEST(AllocationTest, TheCounterCounts) {
  const uint64_t before = allocations;
  const auto memory = std::make_unique<int>(1);
  EXPECT_EQ(allocations - before, 1u);
}

TEST(AllocationTest, RunDoesNotAllocate) {
  std::vector<Model> models;
  for (const char* preset : {"realnvp", "maf", "iaf", "nsf_coupling", "nsf_ar"}) {
    models.push_back(RandomModel(preset, PresetSpec(preset, 6, 2, 3, 64), 4));
  }
  // Columns of all kinds: samples of integers and categories are rounded.
  for (Model& model : AllModels()) {
    if (model.name == "columns-maf") models.push_back(std::move(model));
  }
  ASSERT_EQ(models.size(), 6u);
  for (const Model& model : models) {
    const auto plan = CompileCpuPlan(model.spec, model.tensors);
    ASSERT_TRUE(plan.ok()) << plan.status().ToString();
    Workspace workspace;
    for (Op op : {Op::kLogProb, Op::kInverse, Op::kForward, Op::kSample}) {
      for (size_t rows : {1, 5, 64}) {
        Rows request{rows, DataRows(model, rows, 1), ContextRows(model, rows, 2), 3, 0};
        Answer answer;
        const RowSpan span = SpanOf(**plan, op, request, answer);
        ASSERT_TRUE((*plan)->Run(op, {&span, 1}, workspace).ok());
        const uint64_t before = allocations;
        const bool ok = (*plan)->Run(op, {&span, 1}, workspace).ok();
        EXPECT_EQ(allocations - before, 0u) << model.name << " " << OpName(op) << " rows " << rows;
        EXPECT_TRUE(ok);
      }
    }
  }
}

}  // namespace
}  // namespace densityd::engine::cpu
