// Compiled plans against the float64 flow.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/cpu/cpu_plan.h"
#include "server/engine/philox.h"
#include "server/engine/reference_plan.h"
#include "tests/engine/cpu/models.h"
#include "tests/engine/cpu/reference.h"
#include "tests/engine/cpu/run.h"

namespace densityd::engine::cpu {
namespace {

/// Rows of a model: enough for the percentile to be one where splines have a long tail of errors.
size_t RowsFor(const Model& model) {
  return model.name.rfind("nsf_", 0) == 0 && model.spec.features() < 10 ? 2000 : 300;
}

/// Splines with random weights have narrow bins, which magnify the rounding of float32 parameters: there float32 itself
/// may miss the bound, and LibTorch's float32 flow is the yardstick.
bool HasSplines(const Model& model) { return model.name.rfind("nsf_", 0) == 0 || model.name.rfind("spline", 0) == 0; }

/// How far a number is from the truth, in units of the promised bound 1e-4 + 1e-5 |truth|.
double Error(double number, double truth) {
  if (number == truth) return 0;
  if (!std::isfinite(number)) return std::numeric_limits<double>::infinity();
  return std::abs(number - truth) / (1e-4 + 1e-5 * std::abs(truth));
}

/// The error that 99.9 % of the numbers do not exceed.
double TailError(const std::vector<float>& numbers, const std::vector<double>& truth) {
  if (truth.empty()) return 0;
  std::vector<double> errors;
  for (size_t i = 0; i < truth.size(); ++i) errors.push_back(Error(numbers[i], truth[i]));
  std::sort(errors.begin(), errors.end());
  return errors[std::min(errors.size() - 1, errors.size() * 999 / 1000)];
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

  /// In units of the promised bound.
  double AllowedError(Op op, const ReferenceAnswer& truth) {
    if (!HasSplines(GetParam())) return 1;
    const auto plan = CompileReferencePlan(GetParam().spec, GetParam().tensors,
                                           {"cpu", NumberType::kFloat32, PlanChoice::kReference});
    if (!plan.ok()) return 0;
    const Answer answer = RunPlan(**plan, op, rows_, (*plan)->info().tile_rows);
    return std::max(1.0, 4 * std::max(TailError(answer.log, truth.log), TailError(answer.value, truth.value)));
  }

  void ExpectAccurate(Op op) {
    const ReferenceAnswer truth = RunReference(GetParam(), op, rows_.input, rows_.context, rows_.rows);
    ASSERT_EQ(truth.log.size(), rows_.rows);
    const double allowed = AllowedError(op, truth);
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

INSTANTIATE_TEST_SUITE_P(AllModels, AccuracyTest, testing::ValuesIn(AllModels()), [](const auto& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace densityd::engine::cpu
