// Which plan CompilePlan makes, and how damaged weights are refused.
#include "server/engine/compile.h"

#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/cpu/compilable.h"
#include "server/engine/cpu/cpu_plan.h"
#include "server/flow/spec.h"
#include "tests/engine/cpu/models.h"

namespace densityd::engine::cpu {
namespace {

using density::v1::FlowSpec;
using testing::HasSubstr;

Model SmallMaf() { return RandomModel("maf", PresetSpec("maf", 4, 0, 2, 16), 1); }

std::string KindOf(const Model& model, const CompileOptions& options) {
  const auto plan = CompilePlan(model.spec, model.tensors, options);
  return plan.ok() ? (*plan)->info().kind : plan.status().ToString();
}

TEST(CompilePlanTest, ServesFloat32OnTheCpuFromACompiledPlan) {
  EXPECT_EQ(KindOf(SmallMaf(), {"cpu", NumberType::kFloat32}), "compiled-cpu");
}

TEST(CompilePlanTest, ServesFloat64FromTheReferencePlan) {
  EXPECT_EQ(KindOf(SmallMaf(), {"cpu", NumberType::kFloat64}), "reference-cpu");
}

TEST(CompilePlanTest, UsesTheReferencePlanWhereAskedTo) {
  EXPECT_EQ(KindOf(SmallMaf(), {"cpu", NumberType::kFloat32, PlanChoice::kReference}), "reference-cpu");
}

TEST(CheckCompilableTest, KnowsEveryModel) {
  for (const Model& model : AllModels())
    EXPECT_TRUE(CheckCompilable(flow::WithDefaults(model.spec)).ok()) << model.name;
}

TEST(CheckCompilableTest, LeavesWhatLaterVersionsAddToTheReferencePlan) {
  Model model = SmallMaf();
  auto& layer = *model.spec.mutable_layers(model.spec.layers_size() - 1)->mutable_autoregressive();
  layer.mutable_conditioner()->mutable_mlp()->set_activation(static_cast<density::v1::Activation>(99));
  const absl::Status status = CheckCompilable(model.spec);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(status.ToString(), HasSubstr("].autoregressive.conditioner.mlp.activation"));
}

TEST(CompilePlanTest, ServesWhatHasNoCompiledFormFromTheReferencePlan) {
  FlowSpec spec = PresetSpec("maf", 4, 0, 2, 16);
  for (auto& layer : *spec.mutable_layers()) {
    if (!layer.has_autoregressive()) continue;
    layer.mutable_autoregressive()->mutable_univariate()->mutable_mixture_cdf();
  }
  const Model model = RandomModel("mixture-cdf", spec, 1);
  EXPECT_EQ(CompileCpuPlan(model.spec, model.tensors).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(KindOf(model, {"cpu", NumberType::kFloat32}), "reference-cpu");
}

TEST(CompilePlanTest, ServesBasesAndLayersWithoutCompiledFormFromTheReferencePlan) {
  density::v1::FlowSpec spec = PresetSpec("maf", 4, 0, 2, 16);
  spec.mutable_base()->mutable_student_t();
  density::v1::FlowSpec bent = PresetSpec("maf", 4, 0, 2, 16);
  bent.add_layers()->mutable_planar();
  for (const density::v1::FlowSpec& other : {spec, bent}) {
    const Model model = RandomModel("other", other, 1);
    EXPECT_EQ(CompileCpuPlan(model.spec, model.tensors).status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_EQ(KindOf(model, {"cpu", NumberType::kFloat32}), "reference-cpu");
  }
}

TEST(CpuPlanTest, PromisesThatRowsAreIndependent) {
  const Model model = SmallMaf();
  const auto plan = CompileCpuPlan(model.spec, model.tensors);
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  EXPECT_TRUE((*plan)->info().rows_are_independent);
  EXPECT_EQ((*plan)->info().features, 4u);
  EXPECT_EQ((*plan)->info().tile_rows, 64u);
}

/// The error of compiling SmallMaf with its tensors changed by `damage`.
template <typename Damage>
absl::Status StatusWith(const Damage& damage) {
  Model model = SmallMaf();
  damage(model.tensors);
  return CompileCpuPlan(model.spec, model.tensors).status();
}

void ExpectDataLoss(const absl::Status& status, const std::string& message) {
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.ToString(), HasSubstr(message));
}

TEST(CpuPlanTest, NamesATensorThatIsMissing) {
  ExpectDataLoss(StatusWith([](auto& tensors) { tensors.erase(tensors.begin()); }), "is missing");
}

TEST(CpuPlanTest, NamesATensorOfAnotherShape) {
  const absl::Status status = StatusWith([](auto& tensors) { tensors[0].shape[0] += 1; });
  ExpectDataLoss(status, "has shape");
  EXPECT_THAT(status.ToString(), HasSubstr(SmallMaf().tensors[0].name));
}

TEST(CpuPlanTest, RefusesATensorThatDoesNotBelongToTheFlow) {
  ExpectDataLoss(StatusWith([](auto& tensors) {
                   tensors.push_back(tensors[0]);
                   tensors.back().name = "stranger";
                 }),
                 "stranger");
}

TEST(CpuPlanTest, RefusesATensorThatOccursTwice) {
  ExpectDataLoss(StatusWith([](auto& tensors) { tensors.push_back(tensors[0]); }), "occurs twice");
}

TEST(CpuPlanTest, RefusesTruncatedBytes) {
  ExpectDataLoss(StatusWith([](auto& tensors) { tensors[0].data.pop_back(); }), "bytes");
}

TEST(CpuPlanTest, RefusesNumbersThatAreNotFinite) {
  ExpectDataLoss(StatusWith([](auto& tensors) { tensors[0].data.replace(0, 4, std::string("\0\0\xC0\x7F", 4)); }),
                 "not finite");
}

TEST(CpuPlanTest, RefusesNumbersOfAnotherType) {
  ExpectDataLoss(StatusWith([](auto& tensors) { tensors[0].dtype = registry::DType::kI64; }), "floating-point");
}

TEST(CpuPlanTest, RefusesASpecThatIsNotValid) {
  Model model = SmallMaf();
  model.spec.set_features(0);
  EXPECT_EQ(CompileCpuPlan(model.spec, model.tensors).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace densityd::engine::cpu
