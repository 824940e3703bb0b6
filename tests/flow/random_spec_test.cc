// Hundreds of flows composed at random, of any layers in any order: what holds for each layer holds for every chain.
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/flow/row_shape.h"
#include "server/flow/spec.h"
#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

constexpr int64_t kRows = 12;

// Draws specs. The stream of std::mt19937_64 is fixed by the standard, so a seed names one spec everywhere.
class SpecGenerator {
 public:
  // With `only_identities`, of layers alone that start as the identity.
  explicit SpecGenerator(uint64_t seed, bool only_identities = false)
      : random_(seed), only_identities_(only_identities) {}

  density::v1::FlowSpec Draw() {
    if (Number(4) == 0) {
      // Up to the 16 columns of which a residual layer's log-determinant is exact.
      shape_ = {0, 1 + Number(2), 2, 1 + Number(4)};
      shape_.columns = shape_.channels * shape_.pixels();
    } else {
      shape_ = {1 + Number(6)};
    }
    context_ = Number(3);
    std::string text =
        "features: " + std::to_string(shape_.columns) + " context_features: " + std::to_string(context_) + " ";
    if (shape_.is_image()) {
      text += "image { channels: " + std::to_string(shape_.channels) + " height: " + std::to_string(shape_.height) +
              " width: " + std::to_string(shape_.width) + " } ";
    }
    if (context_ > 0 && Number(3) == 0) text += "context_encoding { " + Encoding() + " } ";
    const std::string base = "base { " + Base() + " } ";
    if (!only_identities_ && Number(4) == 0) text += "layers { preprocessing { " + Preprocessing() + " } } ";
    const int layers = 1 + Number(8);
    for (int i = 0; i < layers; ++i) {
      const std::string layer = "layers { " + Layer() + " } ";
      // What a squeeze or a split leaves to the next one.
      shape_ = ShapeAfter(ParseSpec(layer).layers(0), shape_);
      text += layer;
    }
    return ParseSpec(text + base);
  }

 private:
  int Width() const { return static_cast<int>(shape_.columns); }
  int Number(int count) { return static_cast<int>(random_() % count); }
  std::string Pick(const std::vector<std::string>& options) {
    return options[Number(static_cast<int>(options.size()))];
  }

  std::string Conditioner() {
    const std::string activation = " activation: " + Pick({"RELU", "TANH", "GELU", "SILU", "LEAKY_RELU", "ELU"});
    return "conditioner { " +
           Pick({"mlp { hidden: [9]" + activation + " }", "mlp { hidden: [6, 11]" + activation + " }",
                 "residual_mlp { hidden: 8 blocks: " + Pick({"1", "2"}) + activation + " }"}) +
           " } ";
  }

  std::string Affine() {
    return "affine { direction: " + Pick({"FORWARD", "INVERSE"}) + " reciprocal_scale: " + Pick({"true", "false"}) +
           " " +
           Pick({"", "max_log_scale: 1", "scale_function: SOFT_CLIP max_log_scale: 2", "scale_function: SOFTPLUS",
                 "scale_function: SIGMOID", "scale_function: SIGMOID min_scale: 0.2 max_scale: 3"}) +
           " }";
  }

  // Networks of convolutions see numbers alone, no angles.
  std::string Spline(bool of_angles = true) {
    const std::string size = "bins: " + Pick({"2", "5", "9"}) + " bound: " + Pick({"2", "3", "6"}) + " ";
    const std::string circle = of_angles ? "circular: " + std::to_string(Number(Width())) + " " : "";
    std::vector<std::string> options = {size, size + circle, size + "parameterization: SOFT_CLIP ",
                                        size + "min_width: 0.02 min_height: 0.01 min_slope: 0.1 "};
    if (!only_identities_ && of_angles) options.push_back(size + circle + "circle: HALF_TURN ");
    return "rational_quadratic_spline { " + Pick(options) + "}";
  }

  std::string Univariate(bool of_angles = true) {
    std::vector<std::string> options = {"shift {}", Affine(), Affine(), Spline(of_angles), Spline(of_angles)};
    if (!only_identities_) {
      options.push_back("mixture_cdf { components: 3 }");
      options.push_back("mixture_cdf { components: 2 family: LOGISTIC layers: 2 max_log_scale: 2 }");
    }
    return Pick(options);
  }

  // A random order of what is left of the columns.
  std::vector<int> Shuffled() {
    std::vector<int> columns(Width());
    for (int i = 0; i < Width(); ++i) columns[i] = i;
    for (int i = Width() - 1; i > 0; --i) std::swap(columns[i], columns[Number(i + 1)]);
    return columns;
  }

  static std::string List(const std::string& field, const std::vector<int>& columns) {
    std::string text;
    for (int column : columns) text += " " + field + ": " + std::to_string(column);
    return text;
  }

  std::string Columns() { return List("columns", Shuffled()); }

  std::string Coupling() {
    std::vector<int> transformed = Shuffled();
    transformed.resize(1 + Number(Width() - 1));
    const std::string mask = Pick({"pattern: ALTERNATING_EVEN", "pattern: ALTERNATING_ODD", "pattern: FIRST_HALF",
                                   "pattern: SECOND_HALF", List("transformed", transformed)});
    std::string text = "coupling { univariate { " + Univariate() + " } " + Conditioner() + "mask { " + mask + " } ";
    if (Number(3) == 0) text += "passed_univariate { " + Univariate() + " } ";
    return text + "}";
  }

  std::string Layer() {
    const std::string given = Number(2) == 0 ? Conditioner() : "";
    const std::string parallel = "parallel: " + Pick({"DENSITY", "SAMPLING"}) + " ";
    std::vector<std::string> options = {
        "elementwise { univariate { " + Univariate() + " } " + given + "}",
        "autoregressive { univariate { " + Univariate() + " } " + Conditioner() + parallel + Columns() + " }",
        "autoregressive { univariate { " + Univariate() + " } " + Conditioner() + parallel + "order: REVERSED }",
        "lu_linear {}",
        "full_affine {}",
        "actnorm {}",
        "planar { " + parallel + given + "}",
        "radial { " + parallel + given + "}",
        "sylvester { " + parallel + Pick({"", "hidden: 1"}) + " }",
        "residual { coefficient: " + Pick({"0.5", "0.9"}) +
            " network { hidden: [7, 8] activation: " + Pick({"TANH", "ELU", "SILU"}) + " } }",
    };
    // Seldom: the tolerances that the promises need take many steps.
    if (Number(4) == 0) {
      options.push_back("continuous { atol: 1e-10 rtol: 1e-10 time_frequencies: " + Pick({"0", "1"}) +
                        " network { hidden: " + Pick({"[6]", "[6, 7]", "[5, 6, 4]"}) +
                        " activation: " + Pick({"TANH", "SILU"}) + " } }");
    }
    if (!only_identities_) AddOfOtherStarts(options);
    if (shape_.is_image()) AddOfImages(options);
    if (Width() > 1) {
      // Twice: couplings are what most flows are made of.
      for (int i = 0; i < 2; ++i) options.push_back(Coupling());
      if (!only_identities_ && (!shape_.is_image() || shape_.channels > 1)) {
        options.push_back("split { " + given + "}");
      }
      options.push_back("householder { " + Pick({"", "reflections: 2"}) + " }");
      options.push_back("orthogonal { map: " + Pick({"MATRIX_EXPONENTIAL", "CAYLEY"}) + " }");
    }
    return Pick(options);
  }

  // Layers that move rows from the start.
  void AddOfOtherStarts(std::vector<std::string>& options) {
    options.push_back("permutation { " +
                      Pick({Columns(), "kind: REVERSE", "kind: RANDOM seed: " + std::to_string(Number(100))}) + " }");
    options.push_back("bijection { kind: LEAKY_RELU_BIJECTION slope: " + Pick({"0.4", "2.5"}) + " }");
    options.push_back("bijection { kind: AFFINE scale: -1.3 shift: 0.2 " + List("columns", {Number(Width())}) + " }");
  }

  // Layers that need an image.
  void AddOfImages(std::vector<std::string>& options) {
    const std::string network = "conditioner { conv_resnet { channels: " + std::to_string(2 + Number(4)) +
                                " blocks: 1 activation: " + Pick({"RELU", "TANH", "ELU"}) + " } } ";
    const std::string univariate = "univariate { " + Univariate(/*of_angles=*/false) + " } ";
    options.push_back("actnorm { per_channel: true }");
    options.push_back(only_identities_ ? "invertible_convolution {}"
                                       : "invertible_convolution { permutation { kind: RANDOM seed: 4 } }");
    if (!only_identities_ && shape_.height % 2 == 0 && shape_.width % 2 == 0) options.push_back("squeeze {}");
    if (shape_.pixels() > 1) {
      options.push_back("coupling { mask { pattern: " + Pick({"CHECKERBOARD_EVEN", "CHECKERBOARD_ODD"}) + " } " +
                        network + univariate + " }");
    }
    if (shape_.channels < 2) return;
    options.push_back("coupling { mask { pattern: " + Pick({"FIRST_CHANNELS", "LAST_CHANNELS"}) + " } " + network +
                      univariate + " }");
    if (!only_identities_) options.push_back("split { " + network + " }");
  }

  // Of columns that any number may be in.
  std::string Preprocessing() {
    std::string text;
    for (int i = 0; i < Width(); ++i) {
      text +=
          "columns { kind: CONTINUOUS " +
          Pick({"scaling: NONE", "scaling: STANDARD center: 0.3 scale: 1.5", "scaling: ROBUST center: -1 scale: 0.7",
                "scaling: YEO_JOHNSON power: " + Pick({"0", "0.6", "1.2", "2"}) + " center: 0.1 scale: 1.3"}) +
          " } ";
    }
    return text;
  }

  // Of numbers and angles: what a normal number can stand for.
  std::string Encoding() {
    std::string text;
    for (int i = 0; i < context_; ++i) {
      text += "columns { " +
              Pick({"kind: CONTINUOUS scaling: STANDARD center: 0.2 scale: 2 accept_missing: true",
                    "kind: CONTINUOUS scaling: NONE", "kind: CIRCULAR low: -20 high: 20"}) +
              " } ";
    }
    return text;
  }

  std::string Base() {
    std::vector<std::string> options = {"standard_normal {}", "diagonal_normal {}", "student_t {}",
                                        "student_t { degrees: 3 }", "gaussian_mixture { components: 3 }"};
    if (context_ > 0) options.push_back("conditional_diagonal_normal { " + Conditioner() + "}");
    if (Width() > 1) {
      std::vector<int> first = Shuffled();
      const std::vector<int> second(first.begin() + 1, first.end());
      first.resize(1);
      options.push_back("product { groups { " + List("columns", first) + " base { student_t {} } } groups { " +
                        List("columns", second) + " base { gaussian_mixture { components: 2 } } } }");
    }
    return Pick(options);
  }

  std::mt19937_64 random_;
  bool only_identities_;
  RowShape shape_;  // of what is left of the columns
  int context_ = 0;
};

Tensor ContextOf(const density::v1::FlowSpec& spec, int64_t rows, uint64_t seed) {
  return spec.context_features() > 0 ? Normal({rows, spec.context_features()}, seed) : Tensor();
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
  return text.find("SOFTPLUS") == std::string::npos && text.find("continuous") == std::string::npos;
}

class RandomSpecTest : public testing::TestWithParam<uint64_t> {};

TEST_P(RandomSpecTest, KeepsEveryPromiseOfItsLayers) {
  for (uint64_t seed = GetParam(); seed < GetParam() + 40; ++seed) {
    const density::v1::FlowSpec spec = SpecGenerator(seed).Draw();
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + spec.ShortDebugString());
    const auto flow = Build(spec);
    ASSERT_NE(flow, nullptr);
    Randomise(*flow, 0.15, seed);
    // In training, encodings of the context leave values out.
    flow->eval();
    const int64_t features = spec.features();
    const Tensor x = Normal({kRows, features}, seed);
    const Tensor context = ContextOf(spec, kRows, seed + 1);

    const Mapped z = flow->Inverse(x, context);
    const Mapped back = flow->Forward(z.value, context);
    EXPECT_LE(MaxAbs(back.value - x), 1e-8);
    EXPECT_LE(MaxAbs(back.log_abs_det + z.log_abs_det), 1e-7);
    const auto inverse = [&](const Tensor& at) { return flow->Inverse(at, context).value; };
    EXPECT_LE(MaxAbs(z.log_abs_det - AutogradLogAbsDet(inverse, x)), 1e-7);
    const auto forward = [&](const Tensor& at) { return flow->Forward(at, context).value; };
    EXPECT_LE(MaxAbs(back.log_abs_det - AutogradLogAbsDet(forward, z.value)), 1e-7);

    ExpectFiniteGradients(*flow, x, context);
    const Tensor log_prob = flow->LogProb(x, context).detach();
    flow->to(torch::kFloat32);
    const Tensor context32 = context.defined() ? context.to(torch::kFloat32) : context;
    const Tensor log_prob32 = flow->LogProb(x.to(torch::kFloat32), context32);
    EXPECT_LE(((log_prob32 - log_prob) / (1 + log_prob.abs())).abs().median().item<double>(), 1e-4);
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
    const Tensor magnitudes = torch::tensor({1e-30, 1e-9, 1e-3, 1e3, 1e6}, torch::kFloat64);
    const Tensor x = torch::cat({magnitudes, -magnitudes}).unsqueeze(1).expand({-1, spec.features()});
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
