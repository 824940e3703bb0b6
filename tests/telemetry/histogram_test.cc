#include "server/telemetry/histogram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>
#include <vector>

namespace densityd::telemetry {
namespace {

TEST(Histogram, BucketsAreCumulativeAndBoundsInclusive) {
  Histogram histogram({1, 2, 4}, 1);
  for (const double value : {0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0}) histogram.Observe(0, value);
  const auto collected = histogram.Collect();
  ASSERT_EQ(collected.bucket.size(), 4u);
  EXPECT_EQ(collected.bucket[0].cumulative_count, 2u);
  EXPECT_EQ(collected.bucket[1].cumulative_count, 4u);
  EXPECT_EQ(collected.bucket[2].cumulative_count, 6u);
  EXPECT_EQ(collected.bucket[3].cumulative_count, 7u);
  EXPECT_TRUE(std::isinf(collected.bucket[3].upper_bound));
  EXPECT_EQ(collected.sample_count, 7u);
  EXPECT_DOUBLE_EQ(collected.sample_sum, 17.0);
}

TEST(Histogram, ManyValuesAtOnceCountAsOneByOne) {
  Histogram together({-1, 0, 1}, 1), apart({-1, 0, 1}, 1);
  const std::vector<double> values = {0.5, 0.6, -3, -0.5, 2, 2, 2, 0.5};
  together.ObserveAll(0, values);
  for (const double value : values) apart.Observe(0, value);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(together.Collect().bucket[i].cumulative_count, apart.Collect().bucket[i].cumulative_count) << i;
  }
  EXPECT_DOUBLE_EQ(together.Collect().sample_sum, apart.Collect().sample_sum);
}

TEST(Histogram, NonFiniteValuesNeverSpoilTheSum) {
  Histogram histogram({0}, 1);
  histogram.Observe(0, std::nan(""));
  histogram.Observe(0, -std::numeric_limits<double>::infinity());
  histogram.Observe(0, 3);
  EXPECT_EQ(histogram.Collect().sample_count, 2u);
  EXPECT_DOUBLE_EQ(histogram.Collect().sample_sum, 3.0);
}

TEST(Histogram, NoObservationIsLostBetweenThreads) {
  Histogram histogram({0.5}, 3);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&histogram, thread] {
      for (int i = 0; i < 1000; ++i) histogram.Observe(thread, 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(histogram.Collect().sample_count, 4000u);
  EXPECT_DOUBLE_EQ(histogram.Collect().sample_sum, 4000.0);
}

TEST(HistogramFamily, SeriesLiveAsLongAsTheirHolders) {
  HistogramFamily family("seconds", "help", {1}, 1);
  auto first = family.Add({{"model", "a"}});
  EXPECT_EQ(first, family.Add({{"model", "a"}}));
  const auto second = family.Add({{"model", "b"}});
  ASSERT_EQ(family.Collect().size(), 1u);
  EXPECT_EQ(family.Collect()[0].metric.size(), 2u);
  first.reset();
  ASSERT_EQ(family.Collect()[0].metric.size(), 1u);
  EXPECT_EQ(family.Collect()[0].metric[0].label[0].value, "b");
}

}  // namespace
}  // namespace densityd::telemetry
