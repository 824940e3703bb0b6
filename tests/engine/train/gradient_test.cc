// Gradients of compiled training steps against float64 autograd.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/engine/train/gradient_reference.h"
#include "tests/engine/train/training_models.h"

namespace densityd::engine::train {
namespace {

constexpr size_t kRows = 300;  // tiles of 64, the last not full; parts of unequal size
constexpr double kAllowed = 5e-6;

std::vector<float> NumbersOf(const registry::Tensor& tensor) {
  std::vector<float> numbers(tensor.data.size() / sizeof(float));
  std::memcpy(numbers.data(), tensor.data.data(), tensor.data.size());
  return numbers;
}

// |a - b| / |b|, or |a| where b is zero.
template <typename Number>
double RelativeError(const std::vector<Number>& a, const std::vector<double>& b) {
  double difference = 0;
  double length = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    length += b[i] * b[i];
  }
  return length == 0 ? std::sqrt(difference) : std::sqrt(difference / length);
}

bool HasSplines(const density::v1::FlowSpec& spec) {
  return spec.DebugString().find("rational_quadratic_spline") != std::string::npos;
}

// The model with all numbers of its tensors multiplied.
Model Scaled(Model model, float factor) {
  for (registry::Tensor& tensor : model.tensors) {
    std::vector<float> numbers = NumbersOf(tensor);
    for (float& number : numbers) number *= factor;
    std::memcpy(tensor.data.data(), numbers.data(), tensor.data.size());
  }
  return model;
}

// Every tensor's gradient is within `allowed` of float64's, or within `roundings` times what LibTorch's own float32 is
// off, relative to its length.
void ExpectGradientOfFloat64(const Model& model, double allowed, double roundings) {
  TestPlan test(model, kRows, /*threads=*/1);
  ASSERT_NE(test.plan, nullptr);
  const std::vector<float> rows = EncodedRows(*test.plan, kRows);
  const std::vector<int64_t> indices = Backwards(kRows);
  const LossAndNorm result =
      test.plan->ComputeGradient(test.parameters.data(), {rows.data(), test.plan->row_numbers(), indices});
  const int fixed = test.plan->fixed_layers();
  const ReferenceGradient truth = ComputeReference(model, fixed, rows, NumberType::kFloat64);
  const ReferenceGradient rounded = ComputeReference(model, fixed, rows, NumberType::kFloat32);
  EXPECT_NEAR(result.loss, truth.loss, 2e-6 * (1 + std::abs(truth.loss)));

  double squares = 0;
  double largest_error = allowed;
  size_t tensors = 0;
  for (const registry::Tensor& tensor : test.plan->layout().Store(test.plan->gradient())) {
    const auto expected = truth.by_tensor.find(tensor.name);
    ASSERT_NE(expected, truth.by_tensor.end()) << tensor.name;
    const std::vector<float> numbers = NumbersOf(tensor);
    ASSERT_EQ(numbers.size(), expected->second.size()) << tensor.name;
    const double of_rounding = RelativeError(rounded.by_tensor.at(tensor.name), expected->second);
    const double error = RelativeError(numbers, expected->second);
    EXPECT_LE(error, std::max(allowed, roundings * of_rounding)) << tensor.name << "; LibTorch's: " << of_rounding;
    largest_error = std::max(largest_error, error);
    for (const double number : expected->second) squares += number * number;
    ++tensors;
  }
  EXPECT_EQ(tensors, truth.by_tensor.size());
  EXPECT_NEAR(result.norm, std::sqrt(squares), 2 * largest_error * std::sqrt(squares));
}

class GradientTest : public testing::TestWithParam<Model> {};

TEST_P(GradientTest, IsThatOfFloat64Autograd) {
  if (!HasSplines(GetParam().spec)) return ExpectGradientOfFloat64(GetParam(), kAllowed, 0);
  // Bins as they are when a training begins: with 64 of them LibTorch's own float32 misses the bound, too. Then with
  // random weights, which are worse conditioned.
  ExpectGradientOfFloat64(Scaled(GetParam(), 0.3f), kAllowed, 2);
  ExpectGradientOfFloat64(GetParam(), kAllowed, 8);
}

std::string NameOf(const testing::TestParamInfo<Model>& info) {
  std::string name = info.param.name;
  for (char& c : name) {
    if (!std::isalnum(c)) c = '_';
  }
  return name;
}

// Those that are not among NotCompiled.
std::vector<Model> CompiledModels() {
  std::vector<Model> models;
  for (Model& model : TrainingModels()) {
    if (TrainPlan::Compile(model.spec, 64, 1).ok()) models.push_back(std::move(model));
  }
  return models;
}

INSTANTIATE_TEST_SUITE_P(Models, GradientTest, testing::ValuesIn(CompiledModels()), NameOf);

TEST(TrainPlanTest, WhatIsNotCompiledSaysWhy) {
  std::map<std::string, std::string> reasons;
  for (const Model& model : TrainingModels()) {
    const auto plan = TrainPlan::Compile(model.spec, 64, 1);
    if (plan.ok()) continue;
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kUnimplemented) << plan.status().ToString();
    reasons[model.name] = std::string(plan.status().message());
  }
  std::map<std::string, std::string> expected;
  const auto expect = [&](const std::string& what, const std::vector<std::string>& names) {
    for (const std::string& name : names) expected[name] = what + " has no compiled training step";
  };
  // Preprocessing that draws, and rotations that are functions of a whole matrix.
  expect("layers.0: this kind of layer", {"columns-maf", "columns-realnvp", "columns-affine"});
  expect("context_encoding, whose parts are learnt,", {"encoded-context-maf", "encoded-context-realnvp"});
  expect("layers.2: this kind of layer", {"iaf-rotation"});
  expect("layers.3: this kind of layer", {"realnvp-rotation", "maf-rotation"});
  expect("layers.6: this kind of layer", {"affine-layers"});
  expect("layers.8: this kind of layer", {"cayley"});
  EXPECT_EQ(reasons, expected);
}

}  // namespace
}  // namespace densityd::engine::train
