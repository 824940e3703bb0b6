#include "tests/flow/random_specs.h"

#include <algorithm>
#include <utility>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace densityd::flow {
namespace {

density::v1::FlowSpec Parse(const std::string& text) {
  density::v1::FlowSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
  return spec;
}

std::string List(const std::string& field, const std::vector<int>& columns) {
  std::string text;
  for (int column : columns) text += " " + field + ": " + std::to_string(column);
  return text;
}

const std::string kPi = "3.141592653589793";

}  // namespace

density::v1::FlowSpec SpecGenerator::Draw() {
  return Parse(!only_identities_ && Number(8) == 0 ? InABox() : OnTheLine());
}

std::string SpecGenerator::Head() {
  context_ = Number(3);
  std::string text =
      "features: " + std::to_string(shape_.columns) + " context_features: " + std::to_string(context_) + " ";
  if (shape_.is_image()) {
    text += "image { channels: " + std::to_string(shape_.channels) + " height: " + std::to_string(shape_.height) +
            " width: " + std::to_string(shape_.width) + " } ";
  }
  if (context_ > 0 && Number(3) == 0) text += "context_encoding { " + Encoding() + " } ";
  return text;
}

std::string SpecGenerator::OnTheLine() {
  if (Number(4) == 0) {
    // Up to the 16 columns of which a residual layer's log-determinant is exact.
    shape_ = {0, 1 + Number(2), 2, 1 + Number(4)};
    shape_.columns = shape_.channels * shape_.pixels();
  } else {
    shape_ = {1 + Number(6)};
  }
  std::string text = Head();
  const std::string base = "base { " + Base() + " } ";
  if (!only_identities_ && Number(3) == 0) text += FirstLayer();
  const int layers = 1 + Number(8);
  for (int i = 0; i < layers; ++i) {
    if (!only_identities_ && Number(12) == 0) {
      text += DetourOfSupport();
      continue;
    }
    const std::string layer = "layers { " + Layer() + " } ";
    // What a squeeze or a split leaves to the next one.
    shape_ = ShapeAfter(Parse(layer).layers(0), shape_);
    text += layer;
  }
  return text + base;
}

// Splines keep [-B, B]: of columns that end at walls, or of angles among others.
std::string SpecGenerator::InABox() {
  shape_ = {1 + Number(5)};
  std::string text = Head();
  const bool on_circle = Number(3) > 0;
  const bool in_degrees = on_circle && Number(2) == 0;
  const std::string bound = on_circle ? kPi : Pick({"1", "2.5"});
  std::vector<int> boxed = Shuffled();
  if (on_circle) boxed.resize(1 + Number(Width()));
  std::sort(boxed.begin(), boxed.end());
  std::vector<int> others;
  for (int i = 0; i < Width(); ++i) {
    if (std::find(boxed.begin(), boxed.end(), i) == boxed.end()) others.push_back(i);
  }
  if (in_degrees) {
    text += "layers { preprocessing { ";
    for (int i = 0; i < Width(); ++i) {
      const bool is_angle = std::find(boxed.begin(), boxed.end(), i) != boxed.end();
      text += is_angle ? "columns { kind: CIRCULAR low: 0 high: 360 scaling: NONE } "
                       : "columns { kind: CONTINUOUS scaling: STANDARD center: 0.3 scale: 1.5 } ";
    }
    text += "} } ";
  }
  std::string spline = "univariate { rational_quadratic_spline { bins: " + Pick({"3", "8"}) + " bound: " + bound;
  if (on_circle) spline += List("circular", boxed) + Pick({"", " circle: HALF_TURN", " parameterization: SOFT_CLIP"});
  spline += " } } ";
  const int layers = 1 + Number(6);
  for (int i = 0; i < layers; ++i) {
    std::vector<std::string> options = {"elementwise { " + spline + Pick({"", Conditioner()}) + "}",
                                        "autoregressive { " + spline + Conditioner() + Columns() +
                                            " parallel: " + Pick({"DENSITY", "SAMPLING"}) + " }"};
    if (Width() > 1) options.push_back("coupling { " + spline + Conditioner() + "mask { " + Mask() + " } }");
    text += "layers { " + Pick(options) + " } ";
  }
  const std::string box = "uniform_box { low: -" + bound + " high: " + bound + " } ";
  if (others.empty()) return text + "base { " + box + " }";
  return text + "base { product { groups {" + List("columns", boxed) + " base { " + box + " } } groups {" +
         List("columns", others) + " base { " + Pick({"student_t {}", "diagonal_normal {}"}) + " } } } }";
}

std::string SpecGenerator::Conditioner() {
  const std::string activation = " activation: " + Pick({"RELU", "TANH", "GELU", "SILU", "LEAKY_RELU", "ELU"});
  return "conditioner { " +
         Pick({"mlp { hidden: [9]" + activation + " }", "mlp { hidden: [6, 11]" + activation + " }",
               "residual_mlp { hidden: 8 blocks: " + Pick({"1", "2"}) + activation + " }"}) +
         " } ";
}

std::string SpecGenerator::Affine() {
  return "affine { direction: " + Pick({"FORWARD", "INVERSE"}) + " reciprocal_scale: " + Pick({"true", "false"}) + " " +
         Pick({"", "max_log_scale: 1", "scale_function: SOFT_CLIP max_log_scale: 2", "scale_function: SOFTPLUS",
               "scale_function: EXP", "scale_function: SIGMOID",
               "scale_function: SIGMOID min_scale: 0.2 max_scale: 3"}) +
         " }";
}

// Networks of convolutions see numbers alone, no angles.
std::string SpecGenerator::Spline(bool of_angles) {
  const std::string size = "bins: " + Pick({"2", "5", "9"}) + " bound: " + Pick({"2", "3", "6"}) + " ";
  const std::string circle = of_angles ? "circular: " + std::to_string(Number(Width())) + " " : "";
  std::vector<std::string> options = {size, size + circle, size + "parameterization: SOFT_CLIP ",
                                      size + "min_width: 0.02 min_height: 0.01 min_slope: 0.1 "};
  if (!only_identities_ && of_angles) options.push_back(size + circle + "circle: HALF_TURN ");
  return "rational_quadratic_spline { " + Pick(options) + "}";
}

std::string SpecGenerator::Univariate(bool of_angles) {
  std::vector<std::string> options = {"shift {}", Affine(), Affine(), Spline(of_angles), Spline(of_angles)};
  if (!only_identities_) {
    options.push_back("mixture_cdf { components: 3 }");
    options.push_back("mixture_cdf { components: 2 family: LOGISTIC layers: 2 max_log_scale: 2 }");
  }
  return Pick(options);
}

std::vector<int> SpecGenerator::Shuffled() {
  std::vector<int> columns(Width());
  for (int i = 0; i < Width(); ++i) columns[i] = i;
  for (int i = Width() - 1; i > 0; --i) std::swap(columns[i], columns[Number(i + 1)]);
  return columns;
}

std::string SpecGenerator::Columns() { return List("columns", Shuffled()); }

std::vector<int> SpecGenerator::SomeColumns() {
  std::vector<int> columns = Shuffled();
  columns.resize(1 + Number(Width()));
  return columns;
}

std::string SpecGenerator::Mask() {
  std::vector<int> transformed = Shuffled();
  transformed.resize(1 + Number(Width() - 1));
  return Pick({"pattern: ALTERNATING_EVEN", "pattern: ALTERNATING_ODD", "pattern: FIRST_HALF", "pattern: SECOND_HALF",
               List("transformed", transformed)});
}

std::string SpecGenerator::Coupling() {
  std::string text = "coupling { univariate { " + Univariate() + " } " + Conditioner() + "mask { " + Mask() + " } ";
  if (Number(3) == 0) text += "passed_univariate { " + Univariate() + " } ";
  return text + "}";
}

std::string SpecGenerator::Layer() {
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

// Several layers: to another support and back to all numbers, of some columns.
std::string SpecGenerator::DetourOfSupport() {
  const std::string columns = List("columns", SomeColumns());
  std::string text;
  const auto add = [&](const std::string& bijection) {
    text += "layers { bijection { kind: " + bijection + columns + " } } ";
  };
  switch (Number(4)) {
    case 0:
      add("LOG");
      add("AFFINE scale: 1.7");
      add("EXP");
      break;
    case 1:
      add("LOG");
      add("SOFTPLUS");
      break;
    case 2:
      add("LOGIT");
      add("AFFINE scale: -1 shift: 1");
      add("SIGMOID");
      break;
    default:
      add("LOGIT");
      add("AFFINE scale: 0.5 shift: 0.5");
      add("TANH");
  }
  return text;
}

// Layers that move rows from the start.
void SpecGenerator::AddOfOtherStarts(std::vector<std::string>& options) {
  options.push_back("permutation { " +
                    Pick({Columns(), "kind: REVERSE", "kind: RANDOM seed: " + std::to_string(Number(100))}) + " }");
  options.push_back("bijection { kind: LEAKY_RELU_BIJECTION slope: " + Pick({"0.4", "2.5"}) + " }");
  options.push_back("bijection { kind: AFFINE scale: -1.3 shift: 0.2 " + List("columns", {Number(Width())}) + " }");
}

// Layers that need an image.
void SpecGenerator::AddOfImages(std::vector<std::string>& options) {
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

// What the data are taken through first.
std::string SpecGenerator::FirstLayer() {
  if (Number(2) == 0) return "layers { preprocessing { " + Preprocessing() + " } } ";
  return "layers { bijection { kind: " + Pick({"EXP", "SIGMOID", "SIGMOID alpha: 0.05", "SOFTPLUS", "TANH"}) +
         List("columns", SomeColumns()) + " } } ";
}

// Half of the time of columns that any number may be in.
std::string SpecGenerator::Preprocessing() {
  std::vector<std::string> options = {
      "CONTINUOUS scaling: NONE", "CONTINUOUS scaling: STANDARD center: 0.3 scale: 1.5",
      "CONTINUOUS scaling: ROBUST center: -1 scale: 0.7",
      "CONTINUOUS scaling: YEO_JOHNSON power: " + Pick({"0", "0.6", "1.2", "2"}) + " center: 0.1 scale: 1.3"};
  if (Number(2) == 0) {
    const std::vector<std::string> others = {"CONTINUOUS scaling: LOG low: -3 center: 0.5 scale: 0.8",
                                             "CONTINUOUS scaling: LOGIT low: -1 high: 2 center: 0.2 scale: 1.4",
                                             "INTEGER scaling: STANDARD center: 0.4 scale: 3",
                                             "INTEGER scaling: LOG low: -2 center: 0.3 scale: 0.9",
                                             "INTEGER scaling: LOGIT low: -2 high: 9 center: 0.1 scale: 2",
                                             "CATEGORICAL categories: [2, -1, 7.5, 4] center: 0 scale: 1.5"};
    options.insert(options.end(), others.begin(), others.end());
  }
  std::string text;
  for (int i = 0; i < Width(); ++i) text += "columns { kind: " + Pick(options) + " } ";
  return text;
}

std::string SpecGenerator::Encoding() {
  std::string text;
  for (int i = 0; i < context_; ++i) {
    text += "columns { kind: " +
            Pick({"CONTINUOUS scaling: STANDARD center: 0.2 scale: 2 accept_missing: true", "CONTINUOUS scaling: NONE",
                  "CIRCULAR low: -20 high: 20", "CATEGORICAL categories: [2, -1, 7.5] embedding: 2",
                  "CATEGORICAL categories: [0, 1] accept_unknown: true accept_missing: true"}) +
            " } ";
  }
  return text;
}

std::string SpecGenerator::Base() {
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

}  // namespace densityd::flow
