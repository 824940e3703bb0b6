// A spec whose sampling could leave the domain of a layer is refused; one that cannot is not.
#include "server/flow/support.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

// Layers of two columns, e.g. {"kind: LOG", "kind: EXP"}.
density::v1::FlowSpec Chain(const std::vector<std::string>& bijections) {
  std::string text = "features: 2 ";
  for (const std::string& bijection : bijections) text += "layers { bijection { " + bijection + " } } ";
  density::v1::FlowSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
  return spec;
}

bool Accepts(const std::vector<std::string>& bijections) { return CheckFlowSpec(Chain(bijections)).ok(); }

// A LOG needs positive numbers from the layers behind it.
TEST(Support, ALogNeedsALowerEndOfZeroOrMore) {
  const std::string log = "kind: LOG";
  const std::string exp = "kind: EXP";
  EXPECT_FALSE(Accepts({log}));
  EXPECT_TRUE(Accepts({log, exp}));
  EXPECT_TRUE(Accepts({log, "kind: SOFTPLUS"}));
  EXPECT_TRUE(Accepts({log, "kind: SIGMOID"}));
  EXPECT_FALSE(Accepts({log, "kind: SIGMOID alpha: 0.1"}));  // -0.125 … 1.125
  EXPECT_FALSE(Accepts({log, "kind: TANH"}));
  EXPECT_FALSE(Accepts({log, "kind: LEAKY_RELU_BIJECTION"}));
  EXPECT_FALSE(Accepts({log, log, exp}));  // log of a positive number can be negative
}

TEST(Support, FollowsAnAffineMap) {
  const std::string log = "kind: LOG";
  const std::string exp = "kind: EXP";
  EXPECT_TRUE(Accepts({log, "kind: AFFINE shift: 1", exp}));
  EXPECT_FALSE(Accepts({log, "kind: AFFINE shift: -1", exp}));
  EXPECT_FALSE(Accepts({log, "kind: AFFINE scale: -1", exp}));
  EXPECT_FALSE(Accepts({log, "kind: AFFINE scale: -1 shift: 1", exp}));
  EXPECT_TRUE(Accepts({log, "kind: AFFINE scale: -1 shift: 1", "kind: SIGMOID"}));     // 0 … 1
  EXPECT_FALSE(Accepts({log, "kind: AFFINE scale: -1 shift: 0.9", "kind: SIGMOID"}));  // -0.1 … 0.9
  EXPECT_TRUE(Accepts({log, "kind: AFFINE shift: 1", "kind: TANH"}));                  // 0 … 2
  EXPECT_FALSE(Accepts({log, "kind: AFFINE scale: 1.1 shift: 1", "kind: TANH"}));      // -0.1 … 2.1
  EXPECT_TRUE(Accepts({log, "kind: AFFINE scale: 0.5 shift: 0.625", "kind: SIGMOID alpha: 0.1"}));
  EXPECT_FALSE(Accepts({log, "kind: AFFINE scale: 0.5 shift: 0.0624", "kind: SIGMOID alpha: 0.1"}));
}

TEST(Support, FollowsEachBijectionOfABoundedInterval) {
  const std::string log = "kind: LOG";
  const std::string shifted_sigmoid = "kind: AFFINE shift: 1";  // of a sigmoid: 1 … 2
  const std::string sigmoid = "kind: SIGMOID";
  EXPECT_TRUE(Accepts({log, log, shifted_sigmoid, sigmoid}));  // log 1 = 0
  EXPECT_FALSE(Accepts({log, log, "kind: AFFINE shift: 0.99", sigmoid}));
  EXPECT_TRUE(Accepts({log, "kind: AFFINE shift: -1", "kind: EXP", sigmoid}));  // e^0 - 1
  EXPECT_FALSE(Accepts({log, "kind: AFFINE shift: -1.01", "kind: EXP", sigmoid}));
  EXPECT_TRUE(Accepts({log, "kind: AFFINE shift: -0.5", sigmoid, sigmoid}));  // sigmoid(0) = 0.5
  EXPECT_FALSE(Accepts({log, "kind: AFFINE shift: -0.51", sigmoid, sigmoid}));
  EXPECT_TRUE(Accepts({log, "kind: AFFINE shift: -0.69", "kind: SOFTPLUS", sigmoid}));  // softplus(0) = 0.693
  EXPECT_FALSE(Accepts({log, "kind: AFFINE shift: -0.7", "kind: SOFTPLUS", sigmoid}));
  EXPECT_TRUE(Accepts({log, "kind: TANH", sigmoid}));
  EXPECT_TRUE(Accepts({log, "kind: AFFINE shift: -0.76", "kind: TANH", shifted_sigmoid, sigmoid}));  // tanh 1 = 0.7616
  EXPECT_FALSE(Accepts({log, "kind: AFFINE shift: -0.77", "kind: TANH", shifted_sigmoid, sigmoid}));
  // The upper ends, turned into lower ones.
  const std::string turned = "kind: AFFINE scale: -1 shift: ";
  EXPECT_TRUE(Accepts({log, turned + "2.72", "kind: EXP", sigmoid}));
  EXPECT_FALSE(Accepts({log, turned + "2.71", "kind: EXP", sigmoid}));
  EXPECT_TRUE(Accepts({log, turned + "0.7", log, shifted_sigmoid, sigmoid}));
  EXPECT_FALSE(Accepts({log, turned + "0.69", log, shifted_sigmoid, sigmoid}));
  EXPECT_TRUE(Accepts({log, turned + "0.74", sigmoid, sigmoid}));
  EXPECT_FALSE(Accepts({log, turned + "0.73", sigmoid, sigmoid}));
  EXPECT_TRUE(Accepts({log, turned + "1.32", "kind: SOFTPLUS", sigmoid}));
  EXPECT_FALSE(Accepts({log, turned + "1.31", "kind: SOFTPLUS", sigmoid}));
  EXPECT_TRUE(Accepts({log, turned + "0.77", "kind: TANH", sigmoid}));
  EXPECT_FALSE(Accepts({log, turned + "0.76", "kind: TANH", sigmoid}));
}

TEST(Support, ALeakyReluShrinksWhatIsBelowZero) {
  const std::string leaky = "kind: LEAKY_RELU_BIJECTION slope: 0.5";
  const std::string tanh = "kind: TANH";
  EXPECT_TRUE(Accepts({"kind: LOG", "kind: AFFINE shift: 0.5", leaky, tanh}));
  EXPECT_FALSE(Accepts({"kind: LOG", "kind: AFFINE shift: 0.49", leaky, tanh}));
  EXPECT_TRUE(Accepts({"kind: LOG", "kind: AFFINE shift: 0.01", "kind: LEAKY_RELU_BIJECTION", tanh}));
  EXPECT_FALSE(Accepts({"kind: LOG", "kind: AFFINE shift: 0.009", "kind: LEAKY_RELU_BIJECTION", tanh}));
  // What is above stays, also where all of it is below.
  EXPECT_TRUE(Accepts({"kind: LOG", "kind: AFFINE scale: -1 shift: 1", leaky, tanh}));
  EXPECT_FALSE(Accepts({"kind: LOG", "kind: AFFINE scale: -1 shift: 0.99", leaky, tanh}));
  EXPECT_TRUE(Accepts({"kind: LOG", "kind: AFFINE scale: -1 shift: -0.5", leaky, "kind: AFFINE shift: -2", tanh}));
  EXPECT_FALSE(Accepts({"kind: LOG", "kind: AFFINE scale: -1 shift: -0.51", leaky, "kind: AFFINE shift: -2", tanh}));
}

TEST(Support, ALogitNeedsItsOwnInterval) {
  const std::string logit = "kind: LOGIT";
  EXPECT_TRUE(Accepts({logit, "kind: SIGMOID"}));
  EXPECT_FALSE(Accepts({logit, "kind: EXP"}));
  EXPECT_FALSE(Accepts({logit, "kind: TANH"}));
  EXPECT_FALSE(Accepts({logit, "kind: SIGMOID alpha: 0.1"}));
  EXPECT_TRUE(Accepts({"kind: LOGIT alpha: 0.1", "kind: SIGMOID"}));
  EXPECT_TRUE(Accepts({"kind: LOGIT alpha: 0.1", "kind: SIGMOID alpha: 0.1"}));
  EXPECT_FALSE(Accepts({"kind: LOGIT alpha: 0.1", "kind: SIGMOID alpha: 0.11"}));
  // logit 0.5 = 0.
  EXPECT_TRUE(Accepts({"kind: LOG", logit, "kind: AFFINE scale: 0.5 shift: 0.5", "kind: SIGMOID"}));
  EXPECT_FALSE(Accepts({"kind: LOG", logit, "kind: AFFINE scale: 0.51 shift: 0.49", "kind: SIGMOID"}));
  // With alpha 0.1, logit(0.1) = -2.197.
  EXPECT_TRUE(Accepts({"kind: LOG", "kind: AFFINE shift: 2.2", "kind: LOGIT alpha: 0.1", "kind: SIGMOID"}));
  EXPECT_FALSE(Accepts({"kind: LOG", "kind: AFFINE shift: 2.19", "kind: LOGIT alpha: 0.1", "kind: SIGMOID"}));
}

TEST(Support, ColumnsAreFollowedOneByOne) {
  EXPECT_TRUE(Accepts({"kind: LOG columns: 1", "kind: EXP columns: 1"}));
  EXPECT_FALSE(Accepts({"kind: LOG columns: 0", "kind: EXP columns: 1"}));
  density::v1::FlowSpec spec = Chain({"kind: LOG columns: 1", "kind: EXP columns: 0"});
  auto& layers = *spec.mutable_layers();
  layers.Add()->mutable_permutation();
  layers.SwapElements(1, 2);
  EXPECT_TRUE(CheckFlowSpec(spec).ok());
  EXPECT_THAT(std::string(CheckFlowSpec(Chain({"kind: LOG columns: 1"})).message()),
              testing::HasSubstr("column 1 values within [-inf, inf]"));
}

TEST(Support, FollowsSqueezesAndWhatASplitLeaves) {
  const auto accepts = [](const std::string& text) {
    density::v1::FlowSpec spec;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
    return CheckFlowSpec(spec).ok();
  };
  const auto chain = [](const std::string& first, int log, const std::string& between, int exp) {
    return first + " layers { bijection { kind: LOG columns: " + std::to_string(log) + " } } layers { " + between +
           " } layers { bijection { kind: EXP columns: " + std::to_string(exp) + " } }";
  };
  // Column 1 of a squeezed row of four pixels is pixel 2.
  const std::string image = "features: 8 image { channels: 1 height: 2 width: 4 }";
  EXPECT_TRUE(accepts(chain(image, 2, "squeeze {}", 1)));
  EXPECT_FALSE(accepts(chain(image, 1, "squeeze {}", 1)));
  // A split maps the columns that leave, and leaves the others as they are.
  EXPECT_TRUE(accepts(chain("features: 4", 1, "split {}", 1)));
  EXPECT_FALSE(accepts(chain("features: 4", 2, "split {}", 1)));
  EXPECT_FALSE(accepts(chain("features: 4", 2, "split {}", 0)));
}

TEST(Support, ACircularSplineTurnsWhatLiesOnItsCircle) {
  const auto support = [](const std::string& box) {
    density::v1::FlowSpec spec;
    const std::string text = "features: 2 base { product { groups { columns: 0 base { uniform_box { " + box +
                             " } } } groups { columns: 1 base { standard_normal {} } } } } layers { elementwise { "
                             "univariate { rational_quadratic_spline { bound: 3 circular: 0 } } } }";
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
    return DataSupport(spec);
  };
  const auto is_circle = [](const Interval& values) { return values.low == -3 && values.high == 3; };
  EXPECT_TRUE(is_circle(support("low: -3 high: 3")[0]));
  EXPECT_TRUE(is_circle(support("low: -1 high: 2")[0]));
  EXPECT_FALSE(is_circle(support("low: -3 high: 4")[0]));
  EXPECT_FALSE(is_circle(support("low: -4 high: 3")[0]));
  EXPECT_FALSE(is_circle(support("low: -3 high: 3")[1]));
}

TEST(Support, FollowsAFittedStandardisationAndNoLearntLayer) {
  density::v1::FlowSpec spec = Chain({"kind: LOG", "kind: EXP"});
  const auto with = [&](const std::string& between) {
    density::v1::FlowSpec changed = spec;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(between, changed.add_layers()));
    changed.mutable_layers()->SwapElements(1, 2);
    return CheckFlowSpec(changed).ok();
  };
  EXPECT_TRUE(with("standardize { mean: [0, 1] scale: [1, 2] }"));
  EXPECT_FALSE(with("standardize { mean: [0, -1] scale: [1, 2] }"));
  EXPECT_FALSE(with("standardize {}"));
  EXPECT_FALSE(with("actnorm {}"));
}

}  // namespace
}  // namespace densityd::flow
