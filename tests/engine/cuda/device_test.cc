// Plans on a real CUDA device. Skipped where there is none.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "c10/cuda/CUDACachingAllocator.h"
#include "cuda_runtime_api.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/compile.h"
#include "server/engine/cuda/capturable.h"
#include "server/engine/cuda/noise.h"
#include "server/engine/philox.h"
#include "tests/engine/cpu/accuracy.h"
#include "tests/engine/cpu/models.h"
#include "tests/engine/cpu/reference.h"
#include "tests/engine/cpu/run.h"

namespace densityd::engine::cuda {
namespace {

using cpu::Answer;
using cpu::Model;
using cpu::ReferenceAnswer;
using cpu::Rows;

constexpr Op kOps[] = {Op::kLogProb, Op::kInverse, Op::kForward, Op::kSample};
constexpr size_t kRows = 300;

class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const absl::StatusOr<std::string> device = ResolveDevice("cuda");
    if (!device.ok()) GTEST_SKIP() << "needs a CUDA device: " << device.status().message();
    device_ = *device;
  }

  std::unique_ptr<Plan> Compile(const Model& model, NumberType precision = NumberType::kFloat32) const {
    auto plan = CompilePlan(model.spec, model.tensors, {device_, precision});
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? *std::move(plan) : nullptr;
  }

  std::string device_;
};

/// Rows of `op`; for kSample the input is the noise, for the reference.
Rows RowsFor(const Model& model, Op op, size_t count) {
  Rows rows;
  rows.rows = count;
  rows.seed = 11;
  rows.first_row = uint64_t{1} << 40;
  rows.context = cpu::ContextRows(model, count, 9);
  if (op == Op::kLogProb || op == Op::kInverse) {
    rows.input = cpu::DataRows(model, count, 7);
  } else {
    rows.input.resize(count * model.spec.features());
    FillStandardNormal(rows.seed, rows.first_row, count, model.spec.features(), rows.input.data());
  }
  return rows;
}

TEST_F(DeviceTest, EveryModelIsAccurateOpByOpAndReplayed) {
  for (const Model& model : cpu::AllModels()) {
    SCOPED_TRACE(model.name);
    const auto plan = Compile(model);
    ASSERT_NE(plan, nullptr);
    EXPECT_EQ(plan->info().kind, ObstacleToGraphs(model.spec).empty() ? "cuda" : "reference-cuda");
    for (Op op : kOps) {
      const Rows rows = RowsFor(model, op, kRows);
      const ReferenceAnswer truth = RunReference(model, op, rows.input, rows.context, kRows);
      const double allowed = AllowedError(model, op, rows, truth);
      // The first run of a size is op by op, the second replays what was captured.
      for (size_t run_rows : {1, 7, 64, 300, 300}) {
        const Answer answer = RunPlan(*plan, op, rows, run_rows);
        EXPECT_LE(TailError(answer, truth), allowed) << OpName(op) << " in runs of " << run_rows;
      }
    }
  }
}

Model Maf() { return cpu::RandomModel("maf", cpu::PresetSpec("maf", 6, 2, 3, 64), 1); }

TEST_F(DeviceTest, Float64HasItsDigits) {
  const Model model = Maf();
  const auto plan = Compile(model, NumberType::kFloat64);
  ASSERT_NE(plan, nullptr);
  for (Op op : kOps) {
    const Rows rows = RowsFor(model, op, kRows);
    const ReferenceAnswer truth = RunReference(model, op, rows.input, rows.context, kRows);
    std::vector<double> log(kRows);
    Answer answer;
    RowSpan span = SpanOf(*plan, op, rows, answer);
    span.log = {log.data(), NumberType::kFloat64, kRows, 1};
    Workspace workspace;
    for (int run = 0; run < 2; ++run) {
      ASSERT_TRUE(plan->Run(op, {&span, 1}, workspace).ok());
      // Noise is rounded to float32 for the reference only.
      const double bound = op == Op::kSample ? 1e-4 : 1e-9;
      for (size_t i = 0; i < kRows; ++i) EXPECT_NEAR(log[i], truth.log[i], bound * (1 + std::abs(truth.log[i])));
    }
  }
}

TEST_F(DeviceTest, NoiseIsThatOfTheHost) {
  constexpr size_t kColumns = 5;
  std::vector<NoiseKey> keys;
  for (size_t row = 0; row < kRows; ++row) keys.push_back({row % 3, (uint64_t{1} << 33) + row});
  void* device_keys = nullptr;
  void* device_noise = nullptr;
  ASSERT_EQ(cudaMalloc(&device_keys, kRows * sizeof(NoiseKey)), cudaSuccess);
  ASSERT_EQ(cudaMalloc(&device_noise, kRows * kColumns * sizeof(double)), cudaSuccess);
  ASSERT_EQ(cudaMemcpy(device_keys, keys.data(), kRows * sizeof(NoiseKey), cudaMemcpyHostToDevice), cudaSuccess);
  ASSERT_EQ(LaunchStandardNormal(static_cast<NoiseKey*>(device_keys), kRows, kColumns, NumberType::kFloat64,
                                 device_noise, /*stream=*/nullptr),
            cudaSuccess);
  std::vector<double> noise(kRows * kColumns);
  ASSERT_EQ(cudaMemcpy(noise.data(), device_noise, noise.size() * sizeof(double), cudaMemcpyDeviceToHost), cudaSuccess);
  cudaFree(device_keys);
  cudaFree(device_noise);
  for (size_t row = 0; row < kRows; ++row) {
    for (size_t j = 0; j < kColumns; ++j) {
      EXPECT_DOUBLE_EQ(noise[row * kColumns + j], StandardNormal(keys[row].seed, keys[row].row, j));
    }
  }
}

TEST_F(DeviceTest, ASampleIsTheSameHoweverItIsCut) {
  const Model model = Maf();
  const auto plan = Compile(model);
  ASSERT_NE(plan, nullptr);
  const Rows rows = RowsFor(model, Op::kSample, kRows);
  const Answer whole = RunPlan(*plan, Op::kSample, rows, kRows);
  const Answer parts = RunPlan(*plan, Op::kSample, rows, 7);
  for (size_t i = 0; i < whole.value.size(); ++i) {
    EXPECT_NEAR(whole.value[i], parts.value[i], 1e-4 + 1e-5 * std::abs(whole.value[i]));
  }
}

TEST_F(DeviceTest, ThreadsDoNotDisturbOneAnother) {
  const Model model = Maf();
  const auto plan = Compile(model);
  ASSERT_NE(plan, nullptr);
  std::vector<std::thread> threads;
  for (Op op : kOps) {
    for (size_t run_rows : {1, 40, 300}) {
      threads.emplace_back([&, op, run_rows] {
        const Rows rows = RowsFor(model, op, kRows);
        const ReferenceAnswer truth = RunReference(model, op, rows.input, rows.context, kRows);
        for (int i = 0; i < 5; ++i) {
          EXPECT_LE(cpu::TailError(RunPlan(*plan, op, rows, run_rows).log, truth.log), 1) << OpName(op);
        }
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(DeviceTest, ShortMemoryIsReportedAndThePlanGoesOn) {
  const Model model = cpu::RandomModel("maf", cpu::PresetSpec("maf", 6, 0, 2, 1024), 1);
  const auto plan = Compile(model);
  ASSERT_NE(plan, nullptr);
  const Rows rows = RowsFor(model, Op::kLogProb, plan->info().tile_rows);
  Answer answer;
  const RowSpan span = SpanOf(*plan, Op::kLogProb, rows, answer);
  Workspace workspace;
  c10::cuda::CUDACachingAllocator::emptyCache();
  c10::cuda::CUDACachingAllocator::setMemoryFraction(1e-5, 0);
  const absl::Status short_of_memory = plan->Run(Op::kLogProb, {&span, 1}, workspace);
  c10::cuda::CUDACachingAllocator::setMemoryFraction(1, 0);
  EXPECT_TRUE(absl::IsResourceExhausted(short_of_memory)) << short_of_memory;
  EXPECT_TRUE(plan->Run(Op::kLogProb, {&span, 1}, workspace).ok());
}

}  // namespace
}  // namespace densityd::engine::cuda
