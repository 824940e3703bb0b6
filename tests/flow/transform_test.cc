// Properties that hold for every transform, with and without context, at random weights.
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/flow/spec.h"
#include "tests/flow/context_rows.h"
#include "tests/flow/flow_tensors_testing.h"
#include "tests/flow/flow_testing.h"
#include "tests/flow/transform_cases.h"

namespace densityd::flow {
namespace {

constexpr int64_t kRows = 40;

class TransformTest : public testing::TestWithParam<TransformCase> {
 protected:
  TransformTest() : flow_(Build(SpecOf(GetParam()))) {
    Randomise(*flow_, 0.25);
    context_ = ContextOf(flow_->spec(), kRows, 11);
    // In training integers get noise, and encodings of the context leave values out.
    if (GetParam().rounds() || flow_->spec().has_context_encoding()) flow_->eval();
  }

  // Rows within the support.
  Tensor Data(double spread = 2) const {
    const Tensor normal = spread * Normal({kRows, GetParam().features}, 5);
    switch (GetParam().support) {
      case Support::kPositive:
        return normal.exp();
      case Support::kUnit:
        return normal.sigmoid();
      case Support::kSymmetric:
        return normal.tanh();
      case Support::kWhole:
        return normal.mul(3).round();
      case Support::kCount:
        return normal.exp().floor();
      case Support::kDigit:
        return (10 * normal.sigmoid()).floor();
      case Support::kCode: {
        const Tensor index = (static_cast<double>(Codes().size()) * normal.sigmoid()).to(torch::kInt64);
        return torch::tensor(Codes(), torch::kFloat64).index({index});
      }
      case Support::kTurn:
        return 360 * normal.sigmoid();
      default:
        break;
    }
    return normal;
  }

  // Tiny and huge numbers, (1, D) each: of one magnitude in all columns, and of another in each.
  std::vector<Tensor> ExtremeRows() const {
    const std::vector<double> numbers = Extremes(GetParam().support);
    std::vector<Tensor> rows;
    for (double number : numbers) rows.push_back(torch::full({1, GetParam().features}, number, torch::kFloat64));
    std::mt19937_64 random(17);
    for (int i = 0; i < 12; ++i) {
      rows.push_back(torch::empty({1, GetParam().features}, torch::kFloat64));
      for (int64_t j = 0; j < GetParam().features; ++j) rows.back()[0][j] = numbers[random() % numbers.size()];
    }
    return rows;
  }

  Mapped Inverse(const Tensor& x) const { return flow_->Inverse(x, context_); }
  Mapped Forward(const Tensor& z) const { return flow_->Forward(z, context_); }

  std::shared_ptr<Flow> flow_;
  Tensor context_;
};

TEST_P(TransformTest, InverseUndoesForwardAndForwardUndoesInverse) {
  const Tensor x = Data();
  const Mapped z = Inverse(x);
  EXPECT_LE(MaxAbs(Forward(z.value).value - x), 1e-9 * std::max(1.0, MaxAbs(x)));
  const Tensor base = Inverse(Data(1)).value;
  EXPECT_LE(MaxAbs(Inverse(Forward(base).value).value - base), 1e-9);
}

TEST_P(TransformTest, LogDetsOfTheTwoDirectionsAreOpposite) {
  const Mapped z = Inverse(Data());
  EXPECT_LE(MaxAbs(z.log_abs_det + Forward(z.value).log_abs_det), 1e-9);
  EXPECT_EQ(z.log_abs_det.dim(), 1);
  EXPECT_EQ(z.log_abs_det.size(0), kRows);
}

TEST_P(TransformTest, LogDetIsThatOfTheAutogradJacobian) {
  if (GetParam().support == Support::kCode) GTEST_SKIP() << "a category is no number to derive by";
  const Tensor x = Data();
  const Mapped z = Inverse(x);
  EXPECT_LE(MaxAbs(z.log_abs_det - AutogradLogAbsDet([this](const Tensor& at) { return Inverse(at).value; }, x)), 1e-9);
  // Samples are rounded, and have no slope.
  if (GetParam().rounds()) return;
  const Tensor forward = AutogradLogAbsDet([this](const Tensor& at) { return Forward(at).value; }, z.value);
  EXPECT_LE(MaxAbs(Forward(z.value).log_abs_det - forward), 1e-9);
}

TEST_P(TransformTest, Float32AgreesWithFloat64) {
  const Tensor x = Data(1).to(torch::kFloat32);
  const double factor = GetParam().float32_factor;
  const Mapped expected = Inverse(x.to(torch::kFloat64));
  const Tensor expected_log_prob = flow_->LogProb(x.to(torch::kFloat64), context_);
  flow_->to(torch::kFloat32);
  if (context_.defined()) context_ = context_.to(torch::kFloat32);
  const Mapped z = Inverse(x);
  EXPECT_EQ(z.value.scalar_type(), torch::kFloat32);
  EXPECT_EQ(z.log_abs_det.scalar_type(), torch::kFloat32);
  EXPECT_LE(MaxAbs((z.value - expected.value) / (1 + expected.value.abs())), 1e-5 * factor);
  EXPECT_LE(MaxAbs((z.log_abs_det - expected.log_abs_det) / (1 + expected.log_abs_det.abs())), 1e-5 * factor);
  EXPECT_LE(MaxAbs((flow_->LogProb(x, context_) - expected_log_prob) / (1 + expected_log_prob.abs())), 2e-5 * factor);
  EXPECT_LE(MaxAbs((Forward(z.value).value - x) / (1 + x.abs())), 5e-5 * factor);
}

TEST_P(TransformTest, TinyAndHugeInputsGiveFiniteNumbersAndGradients) {
  for (const torch::Dtype dtype : {torch::kFloat64, torch::kFloat32}) {
    flow_->to(dtype);
    for (const Tensor& numbers : ExtremeRows()) {
      const Tensor x = numbers.to(dtype).requires_grad_();
      const Tensor context = context_.defined() ? context_.narrow(0, 0, 1).to(dtype) : context_;
      const Tensor log_prob = flow_->LogProb(x, context);
      EXPECT_TRUE(log_prob.isfinite().all().item<bool>()) << numbers << " " << log_prob;
      std::vector<Tensor> inputs = flow_->parameters();
      inputs.push_back(x);
      for (const Tensor& gradient : torch::autograd::grad({log_prob.sum()}, inputs, {}, {}, false, true)) {
        EXPECT_TRUE(!gradient.defined() || gradient.isfinite().all().item<bool>()) << numbers;
      }
      const Mapped data = flow_->Forward(flow_->Inverse(x, context).value, context);
      EXPECT_TRUE(data.value.isfinite().all().item<bool>()) << numbers;
    }
  }
}

TEST_P(TransformTest, ANewLearntTransformIsTheIdentity) {
  if (!GetParam().starts_as_identity) GTEST_SKIP() << "a fixed map";
  const auto flow = Build(SpecOf(GetParam()));
  const Tensor x = Data();
  const Mapped z = flow->Inverse(x, context_);
  EXPECT_LE(MaxAbs(z.value - x), 1e-14);
  EXPECT_LE(MaxAbs(z.log_abs_det), 1e-14);
  // So that the properties above say something.
  EXPECT_GT(MaxAbs(Inverse(x).value - x), 1e-3);
}

TEST_P(TransformTest, EveryParameterHasAGradient) {
  if (flow_->parameters().empty()) GTEST_SKIP() << "nothing is learnt";
  flow_->LogProb(Data(1), context_).square().sum().backward();
  for (const auto& parameter : flow_->named_parameters()) {
    ASSERT_TRUE(parameter.value().grad().defined()) << parameter.key();
    EXPECT_TRUE(parameter.value().grad().isfinite().all().item<bool>()) << parameter.key();
  }
}

TEST_P(TransformTest, RegistersTheTensorsThatTheSpecLists) { ExpectTensorsOfSpec(*flow_); }

INSTANTIATE_TEST_SUITE_P(Transforms, TransformTest, testing::ValuesIn(TransformCases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace densityd::flow
