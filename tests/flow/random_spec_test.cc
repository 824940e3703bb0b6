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
  explicit SpecGenerator(uint64_t seed) : random_(seed) {}

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
    const int layers = 1 + Number(8);
    for (int i = 0; i < layers; ++i) {
      const std::string layer = "layers { " + Layer() + " } ";
      // What a squeeze or a split leaves to the next one.
      shape_ = ShapeAfter(ParseSpec(layer).layers(0), shape_);
      text += layer;
    }
    text += "base { " + Base() + " }";
    return ParseSpec(text);
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
                 "residual_mlp { hidden: 8 blocks: 1" + activation + " }"}) +
           " } ";
  }

  std::string Univariate() {
    const std::string circle = std::to_string(Number(Width()));
    return Pick({"shift {}", "affine {}", "affine { max_log_scale: 1 }", "rational_quadratic_spline { bins: 5 }",
                 "rational_quadratic_spline { bins: 3 bound: 2 circular: " + circle + " }",
                 "mixture_cdf { components: 3 }", "mixture_cdf { components: 2 family: LOGISTIC layers: 2 }"});
  }

  std::string Columns() {
    std::vector<int> columns(Width());
    for (int i = 0; i < Width(); ++i) columns[i] = i;
    for (int i = Width() - 1; i > 0; --i) std::swap(columns[i], columns[Number(i + 1)]);
    std::string text;
    for (int column : columns) text += " columns: " + std::to_string(column);
    return text;
  }

  std::string Coupling() {
    std::string text = "coupling { univariate { " + Univariate() + " } " + Conditioner() +
                       "mask { pattern: " + Pick({"ALTERNATING_EVEN", "ALTERNATING_ODD", "FIRST_HALF", "SECOND_HALF"}) +
                       " } ";
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
        "permutation { " + Columns() + " }",
        "lu_linear {}",
        "full_affine {}",
        "actnorm {}",
        "bijection { kind: LEAKY_RELU_BIJECTION slope: 0.4 }",
        "bijection { kind: AFFINE scale: -1.3 shift: 0.2 }",
        "planar { " + parallel + given + "}",
        "radial { " + parallel + given + "}",
        "sylvester { " + parallel + "}",
        "residual { network { hidden: [7, 8] activation: " + Pick({"TANH", "ELU", "SILU"}) + " } }",
    };
    // Seldom: the tolerances that the promises need take many steps.
    if (Number(4) == 0) {
      options.push_back("continuous { atol: 1e-10 rtol: 1e-10 network { hidden: [6, 7] activation: " +
                        Pick({"TANH", "SILU"}) + " } }");
    }
    if (shape_.is_image()) AddOfImages(options);
    if (Width() > 1) {
      // Twice: couplings are what most flows are made of.
      for (int i = 0; i < 2; ++i) options.push_back(Coupling());
      if (!shape_.is_image() || shape_.channels > 1) options.push_back("split { " + given + "}");
      options.push_back("householder {}");
      options.push_back("orthogonal { map: " + Pick({"MATRIX_EXPONENTIAL", "CAYLEY"}) + " }");
    }
    return Pick(options);
  }

  // Layers that need an image.
  void AddOfImages(std::vector<std::string>& options) {
    const std::string network = "conditioner { conv_resnet { channels: " + std::to_string(2 + Number(4)) +
                                " blocks: 1 activation: " + Pick({"RELU", "TANH", "ELU"}) + " } } ";
    const std::string univariate =
        "univariate { " + Pick({"affine {}", "shift {}", "mixture_cdf { components: 3 }"}) + " } ";
    options.push_back("actnorm { per_channel: true }");
    options.push_back("invertible_convolution { " + Pick({"", "permutation { kind: RANDOM seed: 4 }"}) + " }");
    if (shape_.height % 2 == 0 && shape_.width % 2 == 0) options.push_back("squeeze {}");
    if (shape_.pixels() > 1) {
      options.push_back("coupling { mask { pattern: " + Pick({"CHECKERBOARD_EVEN", "CHECKERBOARD_ODD"}) + " } " +
                        network + univariate + " }");
    }
    if (shape_.channels < 2) return;
    options.push_back("coupling { mask { pattern: " + Pick({"FIRST_CHANNELS", "LAST_CHANNELS"}) + " } " + network +
                      univariate + " }");
    options.push_back("split { " + network + " }");
  }

  std::string Base() {
    std::vector<std::string> options = {"standard_normal {}", "diagonal_normal {}", "student_t {}",
                                        "gaussian_mixture { components: 3 }"};
    if (context_ > 0) options.push_back("conditional_diagonal_normal { " + Conditioner() + "}");
    return Pick(options);
  }

  std::mt19937_64 random_;
  RowShape shape_;  // of what is left of the columns
  int context_ = 0;
};

class RandomSpecTest : public testing::TestWithParam<uint64_t> {};

TEST_P(RandomSpecTest, KeepsEveryPromiseOfItsLayers) {
  for (uint64_t seed = GetParam(); seed < GetParam() + 40; ++seed) {
    const density::v1::FlowSpec spec = SpecGenerator(seed).Draw();
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + spec.ShortDebugString());
    const auto flow = Build(spec);
    ASSERT_NE(flow, nullptr);
    Randomise(*flow, 0.15, seed);
    const int64_t features = spec.features();
    const Tensor x = Normal({kRows, features}, seed);
    Tensor context;
    if (spec.context_features() > 0) context = Normal({kRows, spec.context_features()}, seed + 1);

    const Mapped z = flow->Inverse(x, context);
    const Mapped back = flow->Forward(z.value, context);
    EXPECT_LE(MaxAbs(back.value - x), 1e-8);
    EXPECT_LE(MaxAbs(back.log_abs_det + z.log_abs_det), 1e-7);
    const auto inverse = [&](const Tensor& at) { return flow->Inverse(at, context).value; };
    EXPECT_LE(MaxAbs(z.log_abs_det - AutogradLogAbsDet(inverse, x)), 1e-7);
    const auto forward = [&](const Tensor& at) { return flow->Forward(at, context).value; };
    EXPECT_LE(MaxAbs(back.log_abs_det - AutogradLogAbsDet(forward, z.value)), 1e-7);

    const Tensor input = x.clone().requires_grad_();
    const Tensor log_prob = flow->LogProb(input, context);
    EXPECT_TRUE(log_prob.isfinite().all().item<bool>());
    log_prob.sum().backward();
    EXPECT_TRUE(input.grad().isfinite().all().item<bool>());
    for (const auto& parameter : flow->named_parameters()) {
      const Tensor& gradient = parameter.value().grad();
      EXPECT_TRUE(!gradient.defined() || gradient.isfinite().all().item<bool>()) << parameter.key();
    }
    flow->to(torch::kFloat32);
    const Tensor context32 = context.defined() ? context.to(torch::kFloat32) : context;
    const Tensor log_prob32 = flow->LogProb(x.to(torch::kFloat32), context32);
    EXPECT_LE(((log_prob32 - log_prob.detach()) / (1 + log_prob.detach().abs())).abs().median().item<double>(), 1e-4);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomSpecTest, testing::Values(1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000),
                         [](const auto& info) { return "From" + std::to_string(info.param); });

}  // namespace
}  // namespace densityd::flow
