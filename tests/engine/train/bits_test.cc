// The same numbers whatever the number of threads.
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/engine/train/training_models.h"

namespace densityd::engine::train {
namespace {

// The parameters after some steps on batches of `rows` rows.
std::vector<float> Trained(const Model& model, size_t rows, size_t threads) {
  TestPlan test(model, rows, threads);
  if (test.plan == nullptr) return {};
  const size_t size = test.plan->layout().size();
  cpu::Arena first_moment(size);
  cpu::Arena second_moment(size);
  cpu::Arena average(size);
  const std::vector<float> data = EncodedRows(*test.plan, rows);
  const std::vector<int64_t> indices = Backwards(rows);
  for (int i = 0; i < 3; ++i) {
    test.plan->ComputeGradient(test.parameters.data(), {data.data(), test.plan->row_numbers(), indices});
    AdamStep step;
    step.rate = 1e-2f;
    step.average_share = 0.5f;
    test.plan->TakeStep(
        step, {0, nullptr, test.parameters.data(), first_moment.data(), second_moment.data(), average.data()});
  }
  std::vector<float> result(test.parameters.data(), test.parameters.data() + size);
  result.insert(result.end(), average.data(), average.data() + size);
  return result;
}

bool HaveTheSameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(TrainPlanBitsTest, AnyNumberOfThreadsGivesTheSameWeights) {
  for (const char* name : {"maf-6", "realnvp-5-given-3", "maf-lu", "nice-6"}) {
    const Model model = TrainingModel(name);
    for (const size_t rows : {64, 300, 1300}) {
      const std::vector<float> alone = Trained(model, rows, 1);
      for (const size_t threads : {2, 3, 7}) {
        EXPECT_TRUE(HaveTheSameBits(alone, Trained(model, rows, threads))) << name << ", " << rows << " rows";
      }
    }
  }
}

TEST(TrainPlanBitsTest, WhatMasksKeepAtZeroStaysZero) {
  const Model model = TrainingModel("maf-6");
  TestPlan test(model, 300, 1);
  ASSERT_NE(test.plan, nullptr);
  const std::vector<float> trained = Trained(model, 300, 1);
  // Loaded anew, the stored tensors give the whole vector: nothing was learnt outside of them.
  cpu::Arena again(test.plan->layout().size());
  ASSERT_TRUE(test.plan->layout().Load(test.plan->layout().Store(trained.data()), again.data()).ok());
  EXPECT_EQ(std::memcmp(again.data(), trained.data(), test.plan->layout().size() * sizeof(float)), 0);
}

}  // namespace
}  // namespace densityd::engine::train
