// Real flows of two columns: what Explain says of a row against integrals of the flow's density on a fine grid.
#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/explain/explainer.h"
#include "server/flow/solver_noise.h"
#include "server/flow/spec.h"
#include "tests/flow/flow_testing.h"

namespace densityd::explain {
namespace {

using torch::Tensor;

struct GridCase {
  std::string preset;
  double limit;  // of both columns, beyond which there is no mass worth counting
  bool is_circle = false;
  int64_t coarser = 1;  // so much than the finest grid: for flows that take their time
};

void PrintTo(const GridCase& grid, std::ostream* out) { *out << grid.preset; }

// Of each side of the plane, and of each line through it: conditionals may be much narrower than the whole.
constexpr int64_t kPlanePoints = 600;
constexpr int64_t kLinePoints = 40000;

/// A density along one line of the grid, constant within each cell.
class Line {
 public:
  Line(std::vector<double> density, double limit)
      : density_(std::move(density)), limit_(limit), step_(2 * limit / static_cast<double>(density_.size())) {}

  double Mass() const { return Below(limit_); }
  /// Integral from -limit to t; beyond the other end the line begins again.
  double Below(double t) const {
    double sum = 0;
    double rest = (t + limit_) / step_;
    for (size_t i = 0; rest > 0; ++i, --rest) sum += std::min(rest, 1.0) * density_[i % density_.size()] * step_;
    return sum;
  }
  /// Where so much of it lies above `from`, by bisection.
  double Quantile(double from, double mass) const {
    double low = from;
    double high = from + 2 * limit_;
    for (int i = 0; i < 50; ++i) {
      const double middle = (low + high) / 2;
      (Below(middle) - Below(from) < mass ? low : high) = middle;
    }
    return low;
  }
  /// Opposite to the mean direction of a circle from -pi to pi.
  double Opposite() const {
    std::complex<double> direction = 0;
    for (size_t i = 0; i < density_.size(); ++i) {
      direction += std::polar(density_[i], (static_cast<double>(i) + 0.5) * step_ - limit_);
    }
    return std::arg(-direction);
  }

 private:
  std::vector<double> density_;
  double limit_;
  double step_;
};

class FlowGridTest : public testing::TestWithParam<GridCase> {
 protected:
  FlowGridTest() {
    density::v1::Preset preset;
    const std::string options = GetParam().preset + " no_standardize: true";
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(options, &preset));
    const auto spec = flow::ExpandPreset(preset, 2, 0);
    EXPECT_TRUE(spec.ok()) << spec.status();
    flow_ = Random(*spec);
  }

  static std::shared_ptr<flow::Flow> Random(const density::v1::FlowSpec& spec) {
    auto flow = flow::Build(spec);
    flow::Randomise(*flow, 0.3);
    flow->eval();
    return flow;
  }

  /// The middles of the cells of one side, (points).
  static Tensor Axis(int64_t points) {
    const double step = 2 * GetParam().limit / static_cast<double>(points);
    return (torch::arange(points, torch::kFloat64) + 0.5) * step - GetParam().limit;
  }

  /// From the middle of the plane to where the density is small.
  static std::vector<double> Rows() {
    std::vector<double> rows;
    for (const auto& [a, b] : {std::pair(0.0, 0.0), {0.2, -0.1}, {-0.24, 0.4}, {0.6, 0.04}, {-0.5, -0.56}}) {
      rows.insert(rows.end(), {a * std::min(GetParam().limit, 10.0), b * std::min(GetParam().limit, 10.0)});
    }
    return rows;
  }

  double MassOfPlane() const {
    const int64_t points = kPlanePoints / GetParam().coarser;
    const Tensor axis = Axis(points);
    double mass = 0;
    for (const Tensor& rows : torch::cartesian_prod({axis, axis}).chunk(16)) {
      mass += flow_->LogProb(rows, Tensor()).exp().sum().item<double>();
    }
    return mass * std::pow(2 * GetParam().limit / static_cast<double>(points), 2);
  }

  /// The density along column `column` through a row, relative to that of the row.
  Line LineThrough(const std::array<double, 2>& row, size_t column) const {
    const int64_t count = kLinePoints / GetParam().coarser;
    Tensor points = torch::tensor({row[0], row[1]}, torch::kFloat64).repeat({count + 1, 1});
    points.select(1, static_cast<int64_t>(column)).slice(0, 1).copy_(Axis(count));
    const Tensor log_prob = flow_->LogProb(points, Tensor());
    const Tensor density = (log_prob.slice(0, 1) - log_prob[0]).exp().contiguous();
    return {std::vector<double>(density.data_ptr<double>(), density.data_ptr<double>() + count), GetParam().limit};
  }

  std::vector<ColumnAnswer> Explain(const std::vector<double>& rows) { return Explain(*flow_, rows); }
  std::vector<ColumnAnswer> Explain(flow::Flow& flow, const std::vector<double>& rows) {
    ColumnRange range;
    range.min = -3;
    range.max = 3;
    range.spread = 1.5;
    range.is_circle = GetParam().is_circle;
    if (range.is_circle) {
      range.support_low = -M_PI;
      range.support_high = M_PI;
    }
    ExplainOptions options;
    options.tolerance = 1e-6;
    options.noise = flow::SolverNoise(flow.spec());
    Explainer explainer(rows, 2, {0, 1}, {range, range}, options);
    while (!explainer.is_done()) {
      Tensor points = torch::empty({static_cast<int64_t>(explainer.origin().size()), 2}, torch::kFloat64);
      std::copy(explainer.points().begin(), explainer.points().end(), points.data_ptr<double>());
      const Tensor log_prob = flow.LogProb(points, Tensor()).contiguous();
      evaluations_ += points.size(0);
      explainer.Take({log_prob.data_ptr<double>(), explainer.origin().size()});
    }
    return explainer.answers();
  }

  /// How far apart two values of a column are.
  double Apart(double a, double b) const {
    return std::abs(GetParam().is_circle ? std::remainder(a - b, 2 * M_PI) : a - b);
  }

  const torch::NoGradGuard no_grad_;
  std::shared_ptr<flow::Flow> flow_;
  int64_t evaluations_ = 0;
};

TEST_P(FlowGridTest, ExplainAgreesWithIntegralsOnAGrid) {
  EXPECT_NEAR(MassOfPlane(), 1, 0.005);
  const double limit = GetParam().limit;
  const std::vector<double> rows = Rows();
  const std::vector<ColumnAnswer> answers = Explain(rows);
  ASSERT_EQ(answers.size(), rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "row " << i / 2 << ", column " << i % 2);
    const Line line = LineThrough({rows[i / 2 * 2], rows[i / 2 * 2 + 1]}, i % 2);
    const double cut = GetParam().is_circle ? line.Opposite() : -limit;
    const double value = rows[i] < cut ? rows[i] + 2 * limit : rows[i];
    const double left = line.Below(value) - line.Below(cut);
    const ColumnAnswer& answer = answers[i];
    EXPECT_NEAR(answer.surprise, std::log(line.Mass()), 1e-3);
    EXPECT_NEAR(answer.tail_probability / (2 * std::min(left, line.Mass() - left) / line.Mass()), 1, 0.02);
    EXPECT_LT(Apart(answer.median, line.Quantile(cut, 0.5 * line.Mass())), limit * 1e-4);
    EXPECT_LT(Apart(answer.lower, line.Quantile(cut, 0.05 * line.Mass())), limit * 1e-4);
    EXPECT_LT(Apart(answer.upper, line.Quantile(cut, 0.95 * line.Mass())), limit * 1e-4);
    EXPECT_LT(answer.error, 1e-5);
  }
}

// What the steps of a coarse solver leave out is in the error of its answers, and no point is asked for its sake.
TEST_P(FlowGridTest, ASolversErrorIsInTheErrorOfTheAnswers) {
  density::v1::FlowSpec spec = flow_->spec();
  if (!spec.layers(0).has_continuous()) GTEST_SKIP() << "nothing is solved";
  for (double tolerance : {1e-5, 1e-4, 1e-3}) {
    for (auto& layer : *spec.mutable_layers()) {
      layer.mutable_continuous()->set_atol(tolerance);
      layer.mutable_continuous()->set_rtol(tolerance);
    }
    evaluations_ = 0;
    const std::vector<ColumnAnswer> coarse = Explain(*Random(spec), Rows());
    const int64_t few = evaluations_;
    for (auto& layer : *spec.mutable_layers()) {
      layer.mutable_continuous()->set_atol(1e-11);
      layer.mutable_continuous()->set_rtol(1e-11);
    }
    const std::vector<ColumnAnswer> fine = Explain(*Random(spec), Rows());
    EXPECT_LT(few, 400 * static_cast<int64_t>(coarse.size()));
    for (size_t i = 0; i < coarse.size(); ++i) {
      EXPECT_LE(std::abs(coarse[i].surprise - fine[i].surprise), coarse[i].error) << tolerance << ", answer " << i;
      EXPECT_LE(coarse[i].error, 1e3 * tolerance) << "answer " << i;
    }
  }
}

const std::string kNetwork = " hidden: [12] activation: TANH";

INSTANTIATE_TEST_SUITE_P(
    Flows, FlowGridTest,
    testing::Values(GridCase{"name: 'nsf_ar' transforms: 2" + kNetwork, 10},
                    GridCase{"name: 'maf' transforms: 2 mixing: ROTATION base { gaussian_mixture {} }" + kNetwork, 20},
                    GridCase{"name: 'circular_nsf' transforms: 2" + kNetwork, M_PI, /*is_circle=*/true},
                    GridCase{"name: 'ffjord' continuous_options { atol: 1e-8 rtol: 1e-8 }" + kNetwork, 10,
                             /*is_circle=*/false, /*coarser=*/4}));

}  // namespace
}  // namespace densityd::explain
