// Encoded context: what networks see of numbers, angles, categories, and of what is unknown or missing.
#include "server/flow/context_encoding.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/flow/spec.h"
#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

using testing::HasSubstr;

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

density::v1::Preprocessing Columns(const std::string& columns) {
  return ParseSpec("context_encoding { " + columns + " }").context_encoding();
}

// The encoding of one column with the numbers `x`.
Tensor Encode(const std::string& column, const std::vector<double>& x) {
  Initializer initializer(1);
  ContextEncoding encoding(Columns("columns { " + column + " }"), initializer);
  const torch::NoGradGuard no_grad;
  for (Tensor& parameter : encoding.parameters()) parameter.copy_(Normal(parameter.sizes(), 3));
  encoding.eval();
  return encoding.Encode(torch::tensor(x, torch::kFloat64).unsqueeze(1));
}

TEST(ContextEncodingTest, ANumberIsScaled) {
  const Tensor encoded = Encode("kind: CONTINUOUS scaling: LOG center: 1 scale: 2", {1, std::exp(5)});
  EXPECT_EQ(encoded.sizes(), (std::vector<int64_t>{2, 1}));
  EXPECT_NEAR(encoded[0][0].item<double>(), -0.5, 1e-12);
  EXPECT_NEAR(encoded[1][0].item<double>(), 2, 1e-12);
}

TEST(ContextEncodingTest, AnAngleIsItsCosineAndSine) {
  const Tensor encoded = Encode("kind: CIRCULAR low: 0 high: 24", {12, 18, 0, 24});
  EXPECT_LE(MaxAbs(encoded - torch::tensor({{1.0, 0.0}, {0.0, 1.0}, {-1.0, 0.0}, {-1.0, 0.0}}, torch::kFloat64)),
            1e-12);
}

TEST(ContextEncodingTest, ACategoryIsItsRowWhateverTheOthersAre) {
  const Tensor encoded = Encode("kind: CATEGORICAL categories: [5, 0.1, -1] embedding: 4", {0.1F, 5, 5, -1});
  EXPECT_EQ(encoded.size(1), 4);
  EXPECT_EQ(MaxAbs(encoded[1] - encoded[2]), 0);
  EXPECT_GT(MaxAbs(encoded[0] - encoded[1]), 0.01);
  EXPECT_GT(MaxAbs(encoded[3] - encoded[1]), 0.01);
}

TEST(ContextEncodingTest, UnknownAndMissingCategoriesHaveRowsOfTheirOwn) {
  const Tensor encoded = Encode("kind: CATEGORICAL categories: [5, 1, -1] accept_unknown: true accept_missing: true",
                                {5, 1, -1, 7, 8, kMissing});
  EXPECT_EQ(MaxAbs(encoded[3] - encoded[4]), 0);
  for (int row : {0, 1, 2, 5}) EXPECT_GT(MaxAbs(encoded[row] - encoded[3]), 0.01) << row;
  for (int row : {0, 1, 2}) EXPECT_GT(MaxAbs(encoded[row] - encoded[5]), 0.01) << row;
}

TEST(ContextEncodingTest, AMissingNumberIsALearntOneWithAFlag) {
  const std::string number = "kind: CONTINUOUS scaling: STANDARD center: 3 scale: 2 accept_missing: true";
  const Tensor encoded = Encode(number, {7, kMissing, kMissing});
  EXPECT_EQ(encoded.size(1), 2);
  EXPECT_EQ(encoded[0][0].item<double>(), 2);
  EXPECT_EQ(encoded[0][1].item<double>(), 0);
  EXPECT_EQ(encoded[1][1].item<double>(), 1);
  EXPECT_TRUE(torch::equal(encoded[1], encoded[2]));
  EXPECT_NE(encoded[1][0].item<double>(), 0);
  const Tensor angle = Encode("kind: CIRCULAR accept_missing: true", {0, kMissing});
  EXPECT_EQ(angle.size(1), 3);
  EXPECT_EQ(angle[1][2].item<double>(), 1);
}

TEST(ContextEncodingTest, TrainingTakesSomeRowsForUnknownSoThatItIsLearnt) {
  Initializer initializer(1);
  ContextEncoding encoding(Columns("columns { kind: CATEGORICAL categories: [0, 1] accept_unknown: true }"),
                           initializer);
  const Tensor context = torch::zeros({6400, 1}, torch::kFloat64);
  at::manual_seed(2);
  const Tensor noisy = encoding.Encode(context);
  encoding.eval();
  const Tensor quiet = encoding.Encode(context);
  EXPECT_EQ(MaxAbs(quiet - quiet[0]), 0);
  const auto changed = (noisy != quiet[0]).any(1).sum().item<int64_t>();
  EXPECT_NEAR(static_cast<double>(changed), 200, 60);
}

TEST(ContextEncodingTest, RefusesWhatCannotBeEncodedWithTheValue) {
  const auto refusal = [](const std::string& column, double x) {
    return RefuseContextValue(ContextColumns(Columns("columns { " + column + " }"))[0], x);
  };
  const std::string category = "kind: CATEGORICAL categories: [1, 2, 5] ";
  EXPECT_THAT(refusal(category, 8), HasSubstr("8, which is none of the column's 3 categories (1, 2, 5)"));
  EXPECT_EQ(refusal(category, 5), "");
  EXPECT_EQ(refusal(category + "accept_unknown: true", 8), "");
  EXPECT_THAT(refusal(category + "accept_unknown: true", kMissing), HasSubstr("NaN"));
  EXPECT_EQ(refusal(category + "accept_missing: true", kMissing), "");
  const std::string number = "kind: CONTINUOUS scaling: LOG ";
  EXPECT_THAT(refusal(number, -3), HasSubstr("-3; the column's numbers are within (0, inf)"));
  EXPECT_THAT(refusal(number, kMissing), HasSubstr("missing"));
  EXPECT_EQ(refusal(number + "accept_missing: true", kMissing), "");
  EXPECT_THAT(refusal("kind: CONTINUOUS scaling: STANDARD", 1e39), HasSubstr("float32"));
  EXPECT_THAT(refusal("kind: CIRCULAR low: 0 high: 24", 25), HasSubstr("[0, 24]"));
}

// A flow with an encoded context is a flow: the densities differ between categories, and each has finite gradients.
TEST(ContextEncodingTest, ReachesEveryLayerAndTheBase) {
  const auto flow = Build(
      ParseSpec("features: 2 context_features: 2 context_encoding { columns { kind: CATEGORICAL categories: [0, 1, 2] "
                "embedding: 3 accept_missing: true } columns { kind: CONTINUOUS scaling: STANDARD center: 0 scale: 1 "
                "accept_missing: true } } layers { autoregressive { conditioner { mlp { hidden: 9 } } } }"
                "base { conditional_diagonal_normal { conditioner { mlp { hidden: 5 } } } }"));
  Randomise(*flow, 0.3);
  flow->eval();
  EXPECT_EQ(EncodedContextWidth(flow->spec()), 5);
  const Tensor x = Normal({4, 2}, 3)[0].expand({4, 2});
  const Tensor context = torch::tensor({{0.0, 1.0}, {1.0, 1.0}, {kMissing, 1.0}, {0.0, kMissing}}, torch::kFloat64);
  const Tensor log_prob = flow->LogProb(x, context);
  EXPECT_TRUE(log_prob.isfinite().all().item<bool>());
  for (int row : {1, 2, 3}) EXPECT_GT(MaxAbs(log_prob[row] - log_prob[0]), 1e-3) << row;
  log_prob.sum().backward();
  for (const auto& parameter : flow->named_parameters()) {
    ASSERT_TRUE(parameter.value().grad().defined()) << parameter.key();
    EXPECT_TRUE(parameter.value().grad().isfinite().all().item<bool>()) << parameter.key();
  }
  std::vector<std::string> names;
  for (const auto& parameter : flow->named_parameters()) names.push_back(parameter.key());
  std::vector<std::string> listed;
  for (const TensorInfo& tensor : FlowTensors(flow->spec())) {
    listed.push_back(tensor.name);
    EXPECT_EQ(flow->named_parameters()[tensor.name].sizes().vec(), tensor.shape) << tensor.name;
  }
  EXPECT_EQ(names, listed);
  // Rows of z come back.
  const Mapped z = flow->Inverse(x, context);
  EXPECT_LE(MaxAbs(flow->Forward(z.value, context).value - x), 1e-9);
}

}  // namespace
}  // namespace densityd::flow
