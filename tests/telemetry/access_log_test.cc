#include "server/telemetry/access_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "server/base/logging.h"

namespace densityd::telemetry {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class FakeClock final : public Clock {
 public:
  absl::Time Now() const override { return now; }
  absl::Time now = absl::UnixEpoch();
};

class AccessLogTest : public ::testing::Test {
 protected:
  AccessLogTest() { ConfigureLogging({.level = LogLevel::kInfo, .format = LogFormat::kJson, .stream = &lines_}); }
  ~AccessLogTest() override { ConfigureLogging({}); }

  CallRecord Failed() const {
    return {.method = RpcMethod::kLogProb,
            .status = absl::InvalidArgumentError("rows: row 3"),
            .duration = absl::Milliseconds(2),
            .model = "power@2",
            .rows = 7,
            .peer = "ipv4:127.0.0.1:5",
            .traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"};
  }

  FakeClock clock_;
  std::ostringstream lines_;
};

TEST_F(AccessLogTest, SaysWhatFailedForWhomAndInWhichTrace) {
  AccessLog({}, clock_).Record(Failed());
  for (const char* part : {"failed call", "DensityEstimator/LogProb", "INVALID_ARGUMENT", "rows: row 3", "power@2",
                           "ipv4:127.0.0.1:5", "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"}) {
    EXPECT_THAT(lines_.str(), HasSubstr(part));
  }
}

TEST_F(AccessLogTest, LogsSlowCallsAndNoOthers) {
  AccessLog log({.slow = absl::Seconds(1)}, clock_);
  log.Record({.method = RpcMethod::kSample, .status = absl::OkStatus(), .duration = absl::Milliseconds(999)});
  EXPECT_THAT(lines_.str(), IsEmpty());
  log.Record({.method = RpcMethod::kSample, .status = absl::OkStatus(), .duration = absl::Seconds(1)});
  EXPECT_THAT(lines_.str(), HasSubstr("slow call"));
}

TEST_F(AccessLogTest, BoundsItsRateAndSaysHowManyLinesAreMissing) {
  AccessLog log({.lines_per_second = 2}, clock_);
  for (int i = 0; i < 5; ++i) log.Record(Failed());
  const std::string first = lines_.str();
  EXPECT_EQ(std::count(first.begin(), first.end(), '\n'), 2);
  EXPECT_THAT(first, Not(HasSubstr("\"suppressed\":3")));
  clock_.now += absl::Seconds(1);
  log.Record(Failed());
  EXPECT_THAT(lines_.str(), HasSubstr("\"suppressed\":3"));
}

TEST_F(AccessLogTest, BoundsOutsideText) {
  CallRecord record = Failed();
  const std::string name(4096, 'x');
  record.model = name;
  AccessLog({}, clock_).Record(record);
  EXPECT_LT(lines_.str().size(), 1500u);
}

}  // namespace
}  // namespace densityd::telemetry
