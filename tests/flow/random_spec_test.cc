// Hundreds of flows composed at random, of any layers in any order: what holds for each layer holds for every chain.
#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/flow/column_map.h"
#include "server/flow/spec.h"
#include "server/flow/support.h"
#include "tests/flow/context_rows.h"
#include "tests/flow/flow_tensors_testing.h"
#include "tests/flow/flow_testing.h"
#include "tests/flow/random_specs.h"

namespace densityd::flow {
namespace {

constexpr int64_t kRows = 12;

// Whether samples are rounded.
bool Rounds(const density::v1::FlowSpec& spec) {
  const auto& columns = spec.layers(0).preprocessing().columns();
  return std::any_of(columns.begin(), columns.end(), [](const auto& column) { return FormOf(column).is_discrete(); });
}

bool HasCategories(const density::v1::FlowSpec& spec) {
  return spec.layers(0).ShortDebugString().find("CATEGORICAL") != std::string::npos;
}

// Where columns have a density: also those that splines keep within a box.
std::vector<Interval> SupportOf(const density::v1::FlowSpec& spec) {
  std::vector<Interval> support = DataSupport(spec);
  if (!spec.base().has_uniform_box()) return support;
  for (Interval& interval : support) {
    if (std::isinf(interval.high)) interval = {spec.base().uniform_box().low(), spec.base().uniform_box().high()};
  }
  return support;
}

// Rows within the support of their columns, from numbers of the whole line.
Tensor Within(const density::v1::FlowSpec& spec, const Tensor& numbers) {
  const std::vector<Interval> support = SupportOf(spec);
  Tensor x = numbers.clone();
  for (int j = 0; j < static_cast<int>(support.size()); ++j) {
    Tensor column = x.select(1, j);
    const auto [low, high] = support[j];
    if (std::isfinite(high)) {
      column.copy_(low + (high - low) * column.sigmoid());
    } else if (std::isfinite(low)) {
      column.copy_(low + column.exp());
    }
    if (j >= spec.layers(0).preprocessing().columns_size()) continue;
    const ColumnForm form = FormOf(spec.layers(0).preprocessing().columns(j));
    if (form.is_whole) column.round_();
    for (int64_t row = 0; row < x.size(0) && !form.codes.empty(); ++row) {
      column[row] = form.codes[static_cast<size_t>(row) % form.codes.size()];
    }
  }
  return x;
}

void ExpectFiniteGradients(Flow& flow, const Tensor& x, const Tensor& context) {
  const Tensor input = x.clone().requires_grad_();
  const Tensor log_prob = flow.LogProb(input, context);
  EXPECT_TRUE(log_prob.isfinite().all().item<bool>()) << log_prob;
  log_prob.sum().backward();
  EXPECT_TRUE(input.grad().isfinite().all().item<bool>());
  for (const auto& parameter : flow.named_parameters()) {
    const Tensor& gradient = parameter.value().grad();
    EXPECT_TRUE(!gradient.defined() || gradient.isfinite().all().item<bool>()) << parameter.key();
  }
}

// Whether the numbers of a flow stay so small that inputs of 1e6 do not overflow: a scale that grows with what the
// network sees takes the square of its inputs, layer by layer.
bool IsBounded(const density::v1::FlowSpec& spec) {
  const std::string text = spec.ShortDebugString();
  const auto has = [&](const char* part) { return text.find(part) != std::string::npos; };
  return !has("SOFTPLUS") && !has("scale_function: EXP") && !has("kind: LOG") && !has("continuous");
}

// Rows of tiny and huge numbers within the support: of one magnitude in all columns, and of another in each. Columns
// that are bounded or discrete have usual numbers.
Tensor Extremes(const density::v1::FlowSpec& spec, uint64_t seed) {
  const std::vector<double> magnitudes = {1e-30, 1e-9, 1e-3, 1, 1e3, 1e6};
  const std::vector<Interval> support = SupportOf(spec);
  constexpr int64_t kEach = 12;
  Tensor x = Within(spec, Normal({kEach * 3, spec.features()}, seed));
  std::mt19937_64 random(seed);
  for (int64_t row = 0; row < x.size(0); ++row) {
    for (int64_t j = 0; j < x.size(1); ++j) {
      const uint64_t pick = row < kEach ? static_cast<uint64_t>(row) : random() % kEach;
      const double magnitude = magnitudes[pick / 2];
      const bool is_discrete = j < spec.layers(0).preprocessing().columns_size() &&
                               FormOf(spec.layers(0).preprocessing().columns(static_cast<int>(j))).is_discrete();
      if (is_discrete || std::isfinite(support[j].high)) continue;
      if (!std::isfinite(support[j].low)) {
        x[row][j] = pick % 2 == 0 ? magnitude : -magnitude;
      } else if (magnitude >= 1e-3) {
        x[row][j] = support[j].low + magnitude;
      }
    }
  }
  return x;
}

class RandomSpecTest : public testing::TestWithParam<uint64_t> {};

TEST_P(RandomSpecTest, KeepsEveryPromiseOfItsLayers) {
  for (uint64_t seed = GetParam(); seed < GetParam() + 40; ++seed) {
    const density::v1::FlowSpec spec = SpecGenerator(seed).Draw();
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + spec.ShortDebugString());
    const auto flow = Build(spec);
    ASSERT_NE(flow, nullptr);
    ExpectTensorsOfSpec(*flow);
    Randomise(*flow, 0.15, seed);
    // In training, encodings of the context leave values out.
    flow->eval();
    const int64_t features = spec.features();
    // Numbers of float32, for the comparison at the end.
    const Tensor x = Within(spec, Normal({kRows, features}, seed)).to(torch::kFloat32).to(torch::kFloat64);
    const Tensor context = ContextOf(spec, kRows, seed + 1);

    const Mapped z = flow->Inverse(x, context);
    const Mapped back = flow->Forward(z.value, context);
    EXPECT_LE(MaxAbs((back.value - x) / (1 + x.abs())), 1e-8);
    EXPECT_LE(MaxAbs(back.log_abs_det + z.log_abs_det), 1e-7);
    const auto inverse = [&](const Tensor& at) { return flow->Inverse(at, context).value; };
    // A category is no number to derive by.
    if (!HasCategories(spec)) {
      EXPECT_LE(MaxAbs(z.log_abs_det - AutogradLogAbsDet(inverse, x)), 1e-7);
    }
    const auto forward = [&](const Tensor& at) { return flow->Forward(at, context).value; };
    if (!Rounds(spec)) {
      EXPECT_LE(MaxAbs(back.log_abs_det - AutogradLogAbsDet(forward, z.value)), 1e-7);
    }

    ExpectFiniteGradients(*flow, x, context);
    const Tensor log_prob = flow->LogProb(x, context).detach();
    flow->to(torch::kFloat32);
    const Tensor context32 = context.defined() ? context.to(torch::kFloat32) : context;
    const Tensor log_prob32 = flow->LogProb(x.to(torch::kFloat32), context32).detach();
    const Tensor error = ((log_prob32 - log_prob) / (1 + log_prob.abs())).abs();
    EXPECT_LE(error.median().item<double>(), 1e-4);
    EXPECT_LE(error.max().item<double>(), 1e-3) << "x: " << x << "log p: " << log_prob;
    if (HasFailure()) return;
  }
}

TEST_P(RandomSpecTest, TinyAndHugeInputsGiveFiniteNumbersAndGradients) {
  for (uint64_t seed = GetParam(); seed < GetParam() + 40; ++seed) {
    const density::v1::FlowSpec spec = SpecGenerator(seed).Draw();
    if (!IsBounded(spec)) continue;
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + spec.ShortDebugString());
    const auto flow = Build(spec);
    ASSERT_NE(flow, nullptr);
    Randomise(*flow, 0.15, seed);
    // In training, encodings of the context leave values out.
    flow->eval();
    const Tensor x = Extremes(spec, seed);
    ExpectFiniteGradients(*flow, x, ContextOf(spec, x.size(0), seed + 1));
    if (HasFailure()) return;
  }
}

TEST_P(RandomSpecTest, StartsAsTheIdentityWhereEachLayerDoes) {
  for (uint64_t seed = GetParam(); seed < GetParam() + 20; ++seed) {
    const density::v1::FlowSpec spec = SpecGenerator(seed, /*only_identities=*/true).Draw();
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + spec.ShortDebugString());
    const auto flow = Build(spec);
    ASSERT_NE(flow, nullptr);
    flow->eval();
    const Tensor x = Normal({kRows, spec.features()}, seed);
    const Tensor context = ContextOf(spec, kRows, seed + 1);
    const Mapped z = flow->Inverse(x, context);
    EXPECT_LE(MaxAbs(z.value - x), 1e-12);
    EXPECT_LE(MaxAbs(z.log_abs_det), 1e-12);
    EXPECT_LE(MaxAbs(flow->Forward(x, context).value - x), 1e-6);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomSpecTest, testing::Values(1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000),
                         [](const auto& info) { return "From" + std::to_string(info.param); });

}  // namespace
}  // namespace densityd::flow
