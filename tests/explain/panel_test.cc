#include "server/explain/panel.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace densityd::explain {
namespace {

Panel PanelOf(double low, double high, double (*log_density)(double)) {
  Panel panel(low, high);
  std::vector<double> values;
  for (double node : panel.Nodes()) values.push_back(log_density(node));
  panel.SetLogDensity(values);
  return panel;
}

TEST(PanelTest, NodesLieInsideInAscendingOrder) {
  const Panel panel(-2, 5);
  double before = -2;
  for (double node : panel.Nodes()) {
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

}  // namespace
}  // namespace densityd::explain
