// Compiled plans against the float64 flow.
#include "tests/engine/cpu/accuracy.h"

#include <algorithm>
#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/cpu/cpu_plan.h"
#include "server/engine/philox.h"
#include "tests/engine/cpu/models.h"
#include "tests/engine/cpu/reference.h"
#include "tests/engine/cpu/run.h"

namespace densityd::engine::cpu {
namespace {

/// Rows of a model: enough for the percentile to be one where splines have a long tail of errors.
size_t RowsFor(const Model& model) {
  return model.name.rfind("nsf_", 0) == 0 && model.spec.features() < 10 ? 2000 : 300;
}

class AccuracyTest : public testing::TestWithParam<Model> {
 protected:
  void SetUp() override {
    auto plan = CompileCpuPlan(GetParam().spec, GetParam().tensors);
    ASSERT_TRUE(plan.ok()) << plan.status().ToString();
    plan_ = *std::move(plan);
    features_ = plan_->info().features;
    rows_.rows = RowsFor(GetParam());
    rows_.seed = 11;
    rows_.context = ContextRows(GetParam(), rows_.rows, 9);
  }

  void ExpectAccurate(Op op) {
    const ReferenceAnswer truth = RunReference(GetParam(), op, rows_.input, rows_.context, rows_.rows);
    ASSERT_EQ(truth.log.size(), rows_.rows);
    const double allowed = AllowedError(GetParam(), op, rows_, truth);
    // The other sizes give the same bits: bits_test.cc.
    for (size_t run_rows : {1, 64}) {
      const Answer answer = RunPlan(*plan_, op, rows_, run_rows);
      EXPECT_LE(TailError(answer.log, truth.log), allowed) << OpName(op) << " in runs of " << run_rows;
      EXPECT_LE(TailError(answer.value, truth.value), allowed) << OpName(op) << " in runs of " << run_rows;
    }
  }

  std::unique_ptr<Plan> plan_;
  size_t features_ = 0;
  Rows rows_;
};

TEST_P(AccuracyTest, LogProbIsThatOfTheFloat64Flow) {
  rows_.input = DataRows(GetParam(), rows_.rows, 7);
  ExpectAccurate(Op::kLogProb);
}

TEST_P(AccuracyTest, InverseIsThatOfTheFloat64Flow) {
  rows_.input = DataRows(GetParam(), rows_.rows, 7);
  ExpectAccurate(Op::kInverse);
}

TEST_P(AccuracyTest, ForwardIsThatOfTheFloat64Flow) {
  rows_.input = NormalRows(rows_.rows, features_, 8);
  ExpectAccurate(Op::kForward);
}

TEST_P(AccuracyTest, SampleIsThatOfTheFloat64FlowForTheSameNoise) {
  rows_.input.resize(rows_.rows * features_);
  FillStandardNormal(rows_.seed, rows_.first_row, rows_.rows, features_, rows_.input.data());
  ExpectAccurate(Op::kSample);
}

/// A model that begins with standardisation, reversal and mixing, and whose columns have this mean and scale 1.
Model AffineLayersOfMean(double mean) {
  for (Model& model : AllModels()) {
    if (model.name != "affine-layers") continue;
    auto& standardize = *model.spec.mutable_layers(0)->mutable_standardize();
    for (int j = 0; j < standardize.mean_size(); ++j) {
      standardize.set_mean(j, mean);
      standardize.set_scale(j, 1);
    }
    return std::move(model);
  }
  return {};
}

TEST(LargeMeansTest, AreTakenOffInFloat64WhateverFollows) {
  constexpr size_t kCount = 40;
  constexpr double kMean = 1.7e9;  // a time stamp, in seconds
  const auto log_prob = [](const Model& model, const std::vector<double>& input) {
    std::vector<double> log(kCount);
    const auto plan = CompileCpuPlan(model.spec, model.tensors);
    EXPECT_TRUE(plan.ok()) << plan.status();
    if (!plan.ok()) return log;
    RowSpan span;
    span.rows = kCount;
    span.input = {input.data(), NumberType::kFloat64, kCount, (*plan)->info().features};
    span.log = {log.data(), NumberType::kFloat64, kCount, 1};
    Workspace workspace;
    EXPECT_TRUE((*plan)->Run(Op::kLogProb, {&span, 1}, workspace).ok());
    return log;
  };
  std::vector<double> near_zero;
  std::vector<double> near_mean;
  // Rounded so that the sum with the mean is exact.
  for (float number : NormalRows(kCount, 5, 3))
    near_zero.push_back(std::ldexp(std::round(std::ldexp(number, 20)), -20));
  for (double number : near_zero) near_mean.push_back(kMean + number);
  EXPECT_EQ(log_prob(AffineLayersOfMean(kMean), near_mean), log_prob(AffineLayersOfMean(0), near_zero));
}

INSTANTIATE_TEST_SUITE_P(AllModels, AccuracyTest, testing::ValuesIn(AllModels()), [](const auto& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace densityd::engine::cpu
