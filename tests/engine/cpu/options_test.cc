// A spec's options are compiled as they are meant, or left to the reference plan: never compiled as something else.
#include <algorithm>
#include <cmath>
#include <string>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "server/engine/cpu/cpu_plan.h"
#include "server/flow/spec.h"
#include "tests/engine/cpu/models.h"
#include "tests/engine/cpu/reference.h"
#include "tests/engine/cpu/run.h"

namespace densityd::engine::cpu {
namespace {

constexpr size_t kRows = 200;

// A stored model has its defaults written out, and must not lose its compiled form by that.
TEST(CompiledOptions, WrittenDefaultsCompileAsUnwrittenOnes) {
  for (const Model& model : AllModels()) {
    const auto plan = CompileCpuPlan(flow::WithDefaults(model.spec), model.tensors);
    EXPECT_TRUE(plan.ok()) << model.name << ": " << plan.status().ToString();
  }
}

Model ModelOf(const std::string& univariate, const std::string& scheme) {
  density::v1::FlowSpec spec;
  const std::string text = "features: 4 layers { " + scheme + " { univariate { " + univariate +
                           " } conditioner { mlp { hidden: [16, 16] activation: TANH } } } }";
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
  return RandomModel(univariate, std::move(spec), 3);
}

class CompiledUnivariateTest : public testing::TestWithParam<std::string> {};

TEST_P(CompiledUnivariateTest, IsThatOfTheReferenceOrHasNoCompiledForm) {
  for (const std::string scheme : {"coupling", "autoregressive"}) {
    const Model model = ModelOf(GetParam(), scheme);
    const auto plan = CompileCpuPlan(model.spec, model.tensors);
    if (plan.status().code() == absl::StatusCode::kUnimplemented) continue;
    ASSERT_TRUE(plan.ok()) << plan.status().ToString();
    for (const Op op : {Op::kLogProb, Op::kInverse, Op::kForward}) {
      const std::vector<float> rows = NormalRows(kRows, 4, 5);
      const Answer answer = RunPlan(**plan, op, {kRows, rows, {}, 0, 0}, (*plan)->info().tile_rows);
      const ReferenceAnswer truth = RunReference(model, op, rows, {}, kRows);
      for (size_t i = 0; i < truth.log.size(); ++i) {
        ASSERT_NEAR(answer.log[i], truth.log[i], 2e-3 * (1 + std::abs(truth.log[i]))) << scheme << " row " << i;
      }
      for (size_t i = 0; i < truth.value.size(); ++i) {
        ASSERT_NEAR(answer.value[i], truth.value[i], 2e-3 * (1 + std::abs(truth.value[i])))
            << scheme << " number " << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Options, CompiledUnivariateTest,
    testing::Values("affine {}", "affine { direction: INVERSE }", "affine { reciprocal_scale: true }",
                    "affine { scale_function: SOFT_CLIP max_log_scale: 2 }", "affine { scale_function: EXP }",
                    "affine { scale_function: SOFTPLUS }", "affine { scale_function: SOFTPLUS min_scale: 0.2 }",
                    "affine { scale_function: SOFTPLUS reciprocal_scale: true direction: INVERSE }",
                    "affine { scale_function: SIGMOID }", "affine { scale_function: SIGMOID max_scale: 1.5 }",
                    "affine { scale_function: SIGMOID min_scale: 0 reciprocal_scale: true }",
                    "rational_quadratic_spline {}", "rational_quadratic_spline { min_width: 0.05 }",
                    "rational_quadratic_spline { min_height: 0.05 }", "rational_quadratic_spline { min_slope: 0.1 }",
                    "rational_quadratic_spline { parameterization: SOFT_CLIP min_slope: 0.1 }"),
    [](const auto& info) { return std::to_string(info.index); });

}  // namespace
}  // namespace densityd::engine::cpu
