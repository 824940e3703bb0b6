#include "server/telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/telemetry/metrics_endpoint.h"

namespace densityd::telemetry {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

density::v1::VersionInfo Version(density::v1::VersionState state) {
  density::v1::VersionInfo info;
  info.set_name("power");
  info.set_version(3);
  info.set_state(state);
  info.set_memory_bytes(4096);
  return info;
}

TEST(Metrics, CountRequestsByMethodAndCode) {
  Metrics metrics(2);
  metrics.OnRequest(0, RpcMethod::kLogProb, absl::StatusCode::kOk, absl::Milliseconds(1));
  metrics.OnRequest(1, RpcMethod::kLogProb, absl::StatusCode::kOk, absl::Milliseconds(2));
  metrics.OnRequest(metrics.shared_shard(), RpcMethod::kTrain, absl::StatusCode::kInvalidArgument, absl::Seconds(1));
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("densityd_requests_total{code=\"OK\",method=\"DensityEstimator/LogProb\"} 2"));
  EXPECT_THAT(text,
              HasSubstr("densityd_requests_total{code=\"INVALID_ARGUMENT\",method=\"DensityEstimator/Train\"} 1"));
  EXPECT_THAT(text, HasSubstr("densityd_request_seconds_count{method=\"DensityEstimator/LogProb\"} 2"));
}

TEST(Metrics, CountAnUnknownCodeAsUnknown) {
  Metrics metrics(1);
  metrics.OnRequest(0, RpcMethod::kScore, static_cast<absl::StatusCode>(99), absl::ZeroDuration());
  EXPECT_THAT(metrics.Text(), HasSubstr("code=\"UNKNOWN\",method=\"DensityEstimator/Score\"} 1"));
}

TEST(Metrics, ShowTilesQueueAndRefusals) {
  Metrics metrics(1);
  metrics.OnTile(0, engine::Op::kSample, 64, 5, absl::Microseconds(80));
  metrics.OnQueued(0, serving::Priority::kBatch, absl::Microseconds(20));
  metrics.OnRejected("deadline");
  metrics.OnRejected("something new");
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("densityd_tile_rows_sum 64"));
  EXPECT_THAT(text, HasSubstr("densityd_tile_requests_sum 5"));
  EXPECT_THAT(text, HasSubstr("densityd_compute_seconds_count{op=\"sample\"} 1"));
  EXPECT_THAT(text, HasSubstr("densityd_queue_seconds_count{priority=\"batch\"} 1"));
  EXPECT_THAT(text, HasSubstr("densityd_rejected_total{reason=\"deadline\"} 1"));
  EXPECT_THAT(text, HasSubstr("densityd_rejected_total{reason=\"other\"} 1"));
}

TEST(Metrics, OfAModelLeaveWithItsLastHolder) {
  Metrics metrics(1);
  auto version_1 = metrics.ForModel("power");
  auto version_2 = metrics.ForModel("power");
  EXPECT_EQ(version_1, version_2);
  version_1->OnRows(engine::Op::kLogProb, 10);
  const double log_prob[] = {-3.0, -4.0};
  version_1->OnLogProb(0, log_prob);
  version_1.reset();
  EXPECT_THAT(metrics.Text(), HasSubstr("densityd_rows_total{model=\"power\",op=\"log_prob\"} 10"));
  EXPECT_THAT(metrics.Text(), HasSubstr("densityd_log_prob_count{model=\"power\"} 2"));
  version_2.reset();
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("power")));
}

TEST(Metrics, ForgetAnUnloadedVersion) {
  Metrics metrics(1);
  metrics.OnVersion(Version(density::v1::READY));
  EXPECT_THAT(metrics.Text(), HasSubstr("densityd_model_bytes{model=\"power\",version=\"3\"} 4096"));
  EXPECT_THAT(metrics.Text(), HasSubstr("densityd_models_loaded 1"));
  metrics.OnVersion(Version(density::v1::UNLOADING));
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("densityd_model_bytes{")));
  EXPECT_THAT(metrics.Text(), HasSubstr("densityd_models_loaded 0"));
}

TEST(Metrics, ReadGaugesAtEachScrape) {
  Metrics metrics(1);
  double value = 1;
  auto gauge = metrics.AddGauge("densityd_inflight_bytes", "help", [&value] { return value; });
  EXPECT_THAT(metrics.Text(), HasSubstr("densityd_inflight_bytes 1"));
  value = 2;
  EXPECT_THAT(metrics.Text(), HasSubstr("densityd_inflight_bytes 2"));
  gauge.reset();
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("densityd_inflight_bytes")));
}

TEST(MetricsEndpoint, RefusesATakenPort) {
  const auto first = MetricsEndpoint::Start("127.0.0.1:0", std::make_shared<Metrics>(1));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_GT((*first)->port(), 0);
  const std::string address = "127.0.0.1:" + std::to_string((*first)->port());
  const auto second = MetricsEndpoint::Start(address, std::make_shared<Metrics>(1));
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(address));
}

}  // namespace
}  // namespace densityd::telemetry
