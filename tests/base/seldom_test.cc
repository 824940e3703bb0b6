#include "server/base/seldom.h"

#include <gtest/gtest.h>

namespace densityd {
namespace {

TEST(Seldom, SaysTheFirstAtOnceAndThenOneOfManyWithTheirNumber) {
  Seldom seldom(absl::Seconds(10));
  absl::Time now = absl::FromUnixSeconds(1000);
  EXPECT_EQ(seldom.Count(now), 1u);
  uint64_t said = 0;
  uint64_t counted = 0;
  for (int i = 0; i < 3000; ++i) {  // every 10 ms
    now += absl::Milliseconds(10);
    const uint64_t count = seldom.Count(now);
    said += count > 0 ? 1 : 0;
    counted += count;
  }
  EXPECT_EQ(said, 3u);
  EXPECT_EQ(counted, 3000u);
}

}  // namespace
}  // namespace densityd
