// Every number of rows from 1 to 300, for every kind of compiled model and every operation, against the float64 flow.
//
// accuracy_test.cc has more models and only runs of 1 and 64 rows; here models are small and every cut into tiles and
// every kernel for a few rows is compared with the truth itself.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/cpu/cpu_plan.h"
#include "server/engine/philox.h"
#include "tests/engine/cpu/accuracy.h"

namespace densityd::engine::cpu {
namespace {

constexpr size_t kMostRows = 300;

std::vector<Model> SmallModels() {
  std::vector<Model> models;
  for (const char* preset : {"affine", "elementwise", "nice", "realnvp", "maf", "iaf", "nsf_coupling", "nsf_ar"}) {
    models.push_back(RandomModel(preset, PresetSpec(preset, 5, 0, 2, 16), 7));
    models.push_back(RandomModel(std::string(preset) + "_given_2", PresetSpec(preset, 5, 2, 2, 16), 8));
  }
  // Conditioners, mixing layers and edges that no preset has as it is.
  const std::set<std::string> others = {"realnvp-gelu-residual-given-2",
                                        "maf-elu-residual-given-2",
                                        "maf-lu",
                                        "iaf-lu",
                                        "realnvp-rotation",
                                        "affine-layers",
                                        "columns-maf",
                                        "columns-realnvp",
                                        "encoded-context-maf",
                                        "encoded-context-realnvp"};
  for (Model& model : AllModels()) {
    if (others.count(model.name) == 0) continue;
    std::replace(model.name.begin(), model.name.end(), '-', '_');
    models.push_back(std::move(model));
  }
  return models;
}

/// Rows from `begin` on, `width` numbers each.
template <class Number>
std::vector<Number> From(const std::vector<Number>& numbers, size_t begin) {
  const size_t width = numbers.size() / kMostRows;
  return {numbers.begin() + static_cast<std::ptrdiff_t>(begin * width), numbers.end()};
}

class EveryNumberOfRowsTest : public testing::TestWithParam<Model> {
 protected:
  void ExpectAccurate(Op op) {
    const auto plan = CompileCpuPlan(GetParam().spec, GetParam().tensors);
    ASSERT_TRUE(plan.ok()) << plan.status();
    Rows all{kMostRows, {}, ContextRows(GetParam(), kMostRows, 9), /*seed=*/11, /*first_row=*/0};
    if (op == Op::kLogProb || op == Op::kInverse) {
      all.input = DataRows(GetParam(), kMostRows, 7);
    } else {
      all.input.resize(kMostRows * (*plan)->info().features);
      FillStandardNormal(all.seed, all.first_row, kMostRows, (*plan)->info().features, all.input.data());
    }
    const ReferenceAnswer truth = RunReference(GetParam(), op, all.input, all.context, kMostRows);
    const double allowed = AllowedError(GetParam(), op, all, truth);
    for (size_t count = 1; count <= kMostRows; ++count) {
      // The last rows, so that a row stands in another place of its tile each time.
      const size_t begin = kMostRows - count;
      const Rows rows{count, From(all.input, begin), From(all.context, begin), all.seed, begin};
      const Answer answer = RunPlan(**plan, op, rows, (*plan)->info().tile_rows);
      ASSERT_EQ(answer.log.size(), count);
      EXPECT_LE(TailError(answer, {From(truth.value, begin), From(truth.log, begin)}), allowed)
          << OpName(op) << " of " << count << " rows";
    }
  }
};

TEST_P(EveryNumberOfRowsTest, LogProbIsThatOfTheFloat64Flow) { ExpectAccurate(Op::kLogProb); }
TEST_P(EveryNumberOfRowsTest, InverseIsThatOfTheFloat64Flow) { ExpectAccurate(Op::kInverse); }
TEST_P(EveryNumberOfRowsTest, ForwardIsThatOfTheFloat64Flow) { ExpectAccurate(Op::kForward); }
TEST_P(EveryNumberOfRowsTest, SampleIsThatOfTheFloat64Flow) { ExpectAccurate(Op::kSample); }

INSTANTIATE_TEST_SUITE_P(Kinds, EveryNumberOfRowsTest, testing::ValuesIn(SmallModels()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace densityd::engine::cpu
