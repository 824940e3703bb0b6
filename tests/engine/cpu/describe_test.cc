// What plans tell about their layers, steps, work and memory.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/compile.h"
#include "server/engine/cpu/cpu_plan.h"
#include "server/engine/describe_flow.h"
#include "tests/engine/cpu/models.h"

namespace densityd::engine::cpu {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr Op kOps[] = {Op::kLogProb, Op::kInverse, Op::kForward, Op::kSample};

std::unique_ptr<Plan> Compile(const Model& model) {
  auto plan = CompileCpuPlan(model.spec, model.tensors);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? *std::move(plan) : nullptr;
}

bool HasNetwork(const LayerDescription& layer) {
  return layer.kind == "coupling" || layer.kind == "autoregressive" || layer.kind == "elementwise";
}

/// One pass through the networks without masks.
uint64_t DenseWorkOfNetworks(const PlanDescription& description) {
  uint64_t work = 0;
  for (const LayerDescription& layer : description.layers) work += HasNetwork(layer) ? layer.dense_multiply_adds : 0;
  return work;
}

class DescribeTest : public testing::TestWithParam<Model> {};

TEST_P(DescribeTest, WorkIsTheSumOfTheStepsAndNeverMoreThanDense) {
  const auto plan = Compile(GetParam());
  for (Op op : kOps) {
    const PlanDescription description = plan->Describe(op);
    for (const LayerDescription& layer : description.layers) {
      uint64_t work = 0;
      size_t bytes = 0;
      for (const StepDescription& step : layer.steps) {
        EXPECT_LE(step.multiply_adds, step.dense_multiply_adds) << step.op;
        EXPECT_GT(step.outputs, 0u) << step.op;
        EXPECT_THAT(step.op, Not(HasSubstr("map"))) << "a step without a name";
        work += step.multiply_adds;
        bytes += step.weight_bytes;
      }
      EXPECT_FALSE(layer.steps.empty());
      EXPECT_EQ(layer.multiply_adds, work);
      EXPECT_EQ(layer.weight_bytes, bytes);
      EXPECT_EQ(layer.passes, 1u);
      EXPECT_LE(layer.multiply_adds, layer.dense_multiply_adds) << layer.kind << " " << layer.shape;
    }
    EXPECT_LE(description.multiply_adds(), description.dense_multiply_adds());
  }
}

TEST_P(DescribeTest, NetworksWithoutMasksDoAllOfTheirWork) {
  const auto plan = Compile(GetParam());
  for (Op op : kOps) {
    for (const LayerDescription& layer : plan->Describe(op).layers) {
      if (layer.kind != "coupling") continue;
      EXPECT_EQ(layer.multiply_adds, layer.dense_multiply_adds);
    }
  }
}

TEST_P(DescribeTest, TheDenseWorkIsThatOfTheStoredNetworks) {
  const auto plan = Compile(GetParam());
  for (Op op : kOps) {
    EXPECT_EQ(DenseWorkOfNetworks(plan->Describe(op)), DenseWorkOfNetworks(DescribeFlow(GetParam().spec, op, 4)));
  }
}

TEST_P(DescribeTest, WeightsFitIntoTheMemoryOfThePlan) {
  const auto plan = Compile(GetParam());
  size_t bytes = 0;
  for (Op op : {Op::kLogProb, Op::kSample}) {
    for (const LayerDescription& layer : plan->Describe(op).layers) bytes += layer.weight_bytes;
  }
  EXPECT_LE(bytes, plan->info().bytes);
}

TEST_P(DescribeTest, AnInverseGoesThroughTheSameNetworksBackwards) {
  const auto plan = Compile(GetParam());
  const auto shapes = [&](Op op) {
    std::vector<std::string> shapes;
    for (const LayerDescription& layer : plan->Describe(op).layers) {
      if (HasNetwork(layer)) shapes.push_back(layer.shape);
    }
    return shapes;
  };
  std::vector<std::string> backwards = shapes(Op::kForward);
  std::reverse(backwards.begin(), backwards.end());
  EXPECT_EQ(shapes(Op::kInverse), backwards);
}

INSTANTIATE_TEST_SUITE_P(Models, DescribeTest, testing::ValuesIn(AllModels()),
                         [](const testing::TestParamInfo<Model>& info) {
                           std::string name = info.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

Model Maf() { return RandomModel("maf", PresetSpec("maf", 6, 0, 2, 64), 1); }

TEST(DescribeCompiledTest, MasksHalveTheWorkOfAMafAndSamplingCostsOnePass) {
  const auto plan = Compile(Maf());
  const PlanDescription density = plan->Describe(Op::kLogProb);
  const PlanDescription sample = plan->Describe(Op::kSample);
  EXPECT_LT(density.multiply_adds(), 0.75 * density.dense_multiply_adds());
  EXPECT_LE(sample.multiply_adds(), 1.1 * density.multiply_adds());
  EXPECT_GT(sample.layers.at(1).steps.size(), density.layers.front().steps.size()) << "one column after the other";
}

TEST(DescribeCompiledTest, LayersAreNamedWithTheirShapes) {
  const PlanDescription description = Compile(Maf())->Describe(Op::kLogProb);
  ASSERT_GE(description.layers.size(), 3u);
  EXPECT_EQ(description.layers.front().kind, "autoregressive");
  EXPECT_EQ(description.layers.front().shape, "6 columns, 6 -> 64 -> 64 -> 12, relu");
  EXPECT_EQ(description.layers.back().kind, "base");
}

TEST(DescribeCompiledTest, InfoHasInstructionsScratchAndNoExcuse) {
  const auto plan = Compile(Maf());
  EXPECT_FALSE(plan->info().instructions.empty());
  EXPECT_GT(plan->info().workspace_bytes, 64 * 6 * sizeof(float));
  EXPECT_EQ(plan->info().not_compiled_because, "");
}

TEST(DescribeReferenceTest, TheSequentialDirectionRunsItsNetworkOncePerColumn) {
  const PlanDescription density = DescribeFlow(Maf().spec, Op::kLogProb, 8);
  const PlanDescription sample = DescribeFlow(Maf().spec, Op::kSample, 8);
  EXPECT_EQ(density.multiply_adds(), density.dense_multiply_adds());
  EXPECT_EQ(sample.multiply_adds(), 6 * density.multiply_adds());
  EXPECT_EQ(sample.dense_multiply_adds(), density.dense_multiply_adds());
  const auto is_network = [](const LayerDescription& layer) { return layer.kind == "autoregressive"; };
  const auto layer = std::find_if(density.layers.begin(), density.layers.end(), is_network);
  ASSERT_NE(layer, density.layers.end());
  EXPECT_EQ(layer->shape, "6 -> 64 -> 64 -> 12");
  EXPECT_EQ(layer->weight_bytes, 8 * (6 * 64 + 64 + 64 * 64 + 64 + 64 * 12 + 12u));
}

TEST(DescribeReferenceTest, SaysWhyNothingWasCompiled) {
  const auto reason = [](const CompileOptions& options) {
    const Model model = Maf();
    return (*CompilePlan(model.spec, model.tensors, options))->info().not_compiled_because;
  };
  EXPECT_EQ(reason({"cpu", NumberType::kFloat32}), "");
  EXPECT_THAT(reason({"cpu", NumberType::kFloat64}), HasSubstr("float32"));
  EXPECT_THAT(reason({"cpu", NumberType::kFloat32, PlanChoice::kReference}), HasSubstr("asked for"));
}

TEST(CompilePlanTest, PlansKnowWhatTheirRunsCost) {
  const Model model = Maf();
  for (NumberType precision : {NumberType::kFloat32, NumberType::kFloat64}) {
    const auto plan = CompilePlan(model.spec, model.tensors, {"cpu", precision});
    ASSERT_TRUE(plan.ok());
    for (Op op : kOps) {
      EXPECT_GT((*plan)->run_time(op).Seconds(1), 0);
      EXPECT_GE((*plan)->run_time(op).Seconds((*plan)->info().tile_rows), (*plan)->run_time(op).Seconds(1));
    }
  }
}

}  // namespace
}  // namespace densityd::engine::cpu
