#include "server/telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <vector>

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

/// A connection to the port; -1 where there is none.
int Connect(int port) {
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval patience = {20, 0};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  if (connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return connection;
  close(connection);
  return -1;
}

TEST(MetricsEndpoint, AnswersBesideConnectionsThatSayNothing) {
  const auto endpoint = MetricsEndpoint::Start("127.0.0.1:0", std::make_shared<Metrics>(1));
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  std::vector<int> silent;
  for (int i = 0; i < 32; ++i) silent.push_back(Connect((*endpoint)->port()));
  // One that begins a request and never ends it is no better.
  const std::string_view half = "GET /metrics HTTP/1.1\r\n";
  EXPECT_EQ(send(silent.front(), half.data(), half.size(), MSG_NOSIGNAL), static_cast<ssize_t>(half.size()));
  const int scraper = Connect((*endpoint)->port());
  const std::string_view request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
  ASSERT_EQ(send(scraper, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
  char answer[16] = {};
  EXPECT_GT(recv(scraper, answer, sizeof(answer), 0), 0) << "no answer";
  EXPECT_THAT(std::string(answer, 12), "HTTP/1.1 200");
  close(scraper);
  for (const int connection : silent) close(connection);
}

}  // namespace
}  // namespace densityd::telemetry
