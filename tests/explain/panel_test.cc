#include "server/explain/panel.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace densityd::explain {
namespace {

std::vector<double> NodesOf(const Panel& panel) {
  std::vector<double> nodes;
  panel.AppendNodes(nodes);
  return nodes;
}

Panel PanelOf(double low, double high, double (*log_density)(double), bool is_whole = false) {
  Panel panel(low, high, is_whole);
  std::vector<double> values;
  for (double node : NodesOf(panel)) values.push_back(log_density(node));
  panel.SetLogDensity(values);
  return panel;
}

TEST(PanelTest, NodesLieInsideInAscendingOrder) {
  const Panel panel(-2, 5);
  double before = -2;
  for (double node : NodesOf(panel)) {
    EXPECT_GT(node, before);
    before = node;
  }
  EXPECT_LT(before, 5);
}

TEST(PanelTest, MassOfPolynomialsIsExact) {
  // The integral of t^14 from 0 to 2.
  const Panel panel = PanelOf(0, 2, [](double t) { return 14 * std::log(t); });
  const double truth = std::pow(2.0, 15) / 15;
  EXPECT_NEAR(panel.Mass(0) / truth, 1, 1e-14);
}

TEST(PanelTest, MassIsRelativeToTheShift) {
  const Panel panel = PanelOf(0, 1, [](double) { return -1000.0; });
  EXPECT_NEAR(panel.Mass(-1000), 1, 1e-14);
  EXPECT_NEAR(panel.Mass(-1001), std::exp(1), 1e-13);
}

TEST(PanelTest, ErrorIsLargeWhereTheDensityIsNarrowAndSmallWhereItIsSmooth) {
  const Panel narrow = PanelOf(-10, 10, [](double t) { return -0.5 * t * t / 0.01; });
  EXPECT_GT(narrow.Error(0), 0.1 * narrow.Mass(0));
  const Panel smooth = PanelOf(-1, 1, [](double t) { return -0.5 * t * t; });
  EXPECT_LT(smooth.Error(0), 1e-9 * smooth.Mass(0));
}

TEST(PanelTest, QuantileInvertsTheMass) {
  // Exponential density e^-t on [0, 3]: mass below t is 1 - e^-t.
  const Panel panel = PanelOf(0, 3, [](double t) { return -t; });
  for (double t : {0.001, 0.1, 0.7, 1.5, 2.9}) EXPECT_NEAR(panel.Quantile(1 - std::exp(-t), 0), t, 1e-8);
}

TEST(PanelTest, PointsWithoutDensityCountAsZero) {
  const Panel panel = PanelOf(-1, 1, [](double t) { return t < 0 ? -std::numeric_limits<double>::infinity() : 0.0; });
  EXPECT_NEAR(panel.Mass(0), 1, 0.15);
}

TEST(PanelTest, AFewIntegersAreAddedUp) {
  const Panel panel = PanelOf(
      -0.5, 3.5, [](double t) { return t * std::log(0.5); }, /*is_whole=*/true);
  EXPECT_TRUE(panel.is_sum());
  EXPECT_EQ(NodesOf(panel), (std::vector<double>{0, 1, 2, 3}));
  EXPECT_NEAR(panel.Mass(0), 1 + 0.5 + 0.25 + 0.125, 1e-15);
  EXPECT_EQ(panel.Error(0), 0);
  EXPECT_EQ(panel.Quantile(0.9, 0), 0);
  EXPECT_EQ(panel.Quantile(1.1, 0), 1);
  EXPECT_EQ(panel.Quantile(1.8, 0), 3);
  EXPECT_NEAR(panel.RightDensity(0), 0.125, 1e-15);
}

TEST(PanelTest, TheErrorOfManyIntegersCoversWhatTakesThemForAContinuum) {
  // 0.9^k from 0 to 59; far from linear between neighbours.
  const Panel panel = PanelOf(
      -0.5, 59.5, [](double t) { return t * std::log(0.9); }, /*is_whole=*/true);
  EXPECT_FALSE(panel.is_sum());
  const double truth = (1 - std::pow(0.9, 60)) / (1 - 0.9);
  const double off = std::abs(panel.Mass(0) - truth);
  EXPECT_GT(off, 1e-3);
  EXPECT_GT(panel.Error(0), 0.9 * off);
  EXPECT_LT(panel.Error(0), 2 * off);
  // Half of the mass: 0.9^(k + 1) <= 1/2 from k = 6 on.
  EXPECT_EQ(panel.Quantile(truth / 2, 0), 6);
}

TEST(PanelTest, DirectionIsTheMeanOfTheCircle) {
  // e^(cos(t - 1)) leans to 1; the length is that of Bessel's functions I1(1) / I0(1).
  const Panel panel = PanelOf(-M_PI, M_PI, [](double t) { return std::cos(t - 1); });
  EXPECT_NEAR(std::arg(panel.Direction(0, 2 * M_PI)), 1, 1e-6);
  EXPECT_NEAR(std::abs(panel.Direction(0, 2 * M_PI)) / panel.Mass(0), 0.44639, 1e-6);
}

}  // namespace
}  // namespace densityd::explain
