// Flows that were trained on real data, against the float64 flow: trained/make.sh makes them.
//
// Random weights say little about them: trained splines have bins as narrow as the data ask for, trained scales are as
// large, and rows lie where the density is high. Here the promise of docs/engine.md holds for log p and for all values
// without an allowance; the logs of inverses and samples may have the allowance that random weights have.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "server/base/table.h"
#include "server/engine/cpu/cpu_plan.h"
#include "server/engine/philox.h"
#include "server/registry/safetensors.h"
#include "tests/engine/cpu/accuracy.h"

namespace densityd::engine::cpu {
namespace {

constexpr size_t kRows = 4000;

std::string ReadFile(const std::string& path) {
  std::ifstream file(std::string(DENSITYD_SOURCE_DIR) + "/" + path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

Model ReadModel(const std::string& name) {
  Model model;
  model.name = name;
  const std::string path = "tests/engine/cpu/trained/" + name;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(ReadFile(path + ".json"), &model.spec).ok()) << path;
  auto tensors = registry::ParseSafetensors(ReadFile(path + ".safetensors"), name);
  EXPECT_TRUE(tensors.ok()) << tensors.status();
  if (tensors.ok()) model.tensors = *std::move(tensors);
  return model;
}

/// The last rows of the data that the models were trained on.
std::vector<float> PowerRows() {
  const auto table = ParseCsv(ReadFile("examples/power/power.csv"), "power.csv");
  EXPECT_TRUE(table.ok()) << table.status();
  const std::vector<double>& values = table->values;
  return {values.end() - static_cast<std::ptrdiff_t>(kRows * 6), values.end()};
}

class TrainedFlowTest : public testing::TestWithParam<std::string> {
 protected:
  void ExpectAccurate(Op op, const Rows& rows) {
    const Model model = ReadModel(GetParam());
    const auto plan = CompileCpuPlan(model.spec, model.tensors);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const ReferenceAnswer truth = RunReference(model, op, rows.input, {}, kRows);
    const Answer answer = RunPlan(**plan, op, rows, (*plan)->info().tile_rows);
    const double log_error = TailError(answer.log, truth.log);
    const double value_error = TailError(answer.value, truth.value);
    RecordProperty("log_error", std::to_string(log_error));
    RecordProperty("value_error", std::to_string(value_error));
    EXPECT_LE(log_error, op == Op::kLogProb ? 1 : AllowedError(model, op, rows, truth)) << OpName(op);
    EXPECT_LE(value_error, 1) << OpName(op);
  }
};

TEST_P(TrainedFlowTest, LogProbKeepsThePromise) { ExpectAccurate(Op::kLogProb, {kRows, PowerRows(), {}, 0, 0}); }

TEST_P(TrainedFlowTest, InverseKeepsThePromise) { ExpectAccurate(Op::kInverse, {kRows, PowerRows(), {}, 0, 0}); }

TEST_P(TrainedFlowTest, SampleKeepsThePromise) {
  std::vector<float> noise(kRows * 6);
  FillStandardNormal(5, 0, kRows, 6, noise.data());
  ExpectAccurate(Op::kSample, {kRows, std::move(noise), {}, 5, 0});
}

INSTANTIATE_TEST_SUITE_P(Power, TrainedFlowTest, testing::Values("realnvp", "maf", "coupling", "autoregressive"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace densityd::engine::cpu
