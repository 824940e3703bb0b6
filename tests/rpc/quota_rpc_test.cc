// Quotas of clients, over real sockets. Rates are so low, or so high, that the machine's speed does not matter.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/base/strings.h"
#include "server/base/token.h"
#include "server/rpc/client_metrics.h"
#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using densityd::testing::TempFolder;
using densityd::testing::WriteFile;
using ::testing::HasSubstr;

using Estimator = density::v1::DensityEstimator;

/// One row a second: whoever asked for a hundred is refused for the rest of the test.
constexpr serving::QuotaLimits kFewRows = {.rows_per_second = 1};

grpc::Status LogProb(Estimator::Stub& stub, size_t rows, const std::string& token = "", size_t cols = 1) {
  const auto context = Context();
  if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
  density::v1::LogProbRequest request;
  request.set_model("power");
  *request.mutable_rows() = Rows(cols, std::vector<float>(rows * cols));
  density::v1::LogProbResponse response;
  return stub.LogProb(context.get(), request, &response);
}

/// Whether `status` refuses for a quota, and says when to come back.
bool IsOverQuota(const grpc::Status& status) {
  google::rpc::Status details;
  if (status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED) return false;
  if (!details.ParseFromString(status.error_details())) return false;
  bool quota = false;
  bool retry = false;
  for (const auto& detail : details.details()) {
    quota |= detail.Is<google::rpc::QuotaFailure>();
    retry |= detail.Is<google::rpc::RetryInfo>();
  }
  return quota && retry;
}

class QuotaRpcTest : public ::testing::Test {
 protected:
  TestServer& Start(serving::QuotaLimits limits, const Authorizer* authorizer = nullptr) {
    server_ = std::make_unique<TestServer>(TestServer::Settings{
        .workers = 2, .limits = {.max_request_rows = 5000}, .client_limits = limits, .authorizer = authorizer});
    server_->Publish("power", 1);
    return *server_;
  }

  std::unique_ptr<TestServer> server_;
};

TEST_F(QuotaRpcTest, AllConnectionsOfAnAddressShareItsRows) {
  TestServer& server = Start(kFewRows);
  EXPECT_TRUE(LogProb(server.estimator(), 100).ok());
  const auto other = Estimator::NewStub(server.Connect());
  const grpc::Status refused = LogProb(*other, 1);
  EXPECT_TRUE(IsOverQuota(refused)) << refused.error_message();
  EXPECT_THAT(refused.error_message(), HasSubstr("this address has used up its quota of 1 rows per second"));
  EXPECT_THAT(server.metrics().Text(), HasSubstr("densityd_rejected_total{reason=\"client_rows\"} 1"));
}

TEST_F(QuotaRpcTest, EveryKindOfRowCallCounts) {
  TestServer& server = Start(kFewRows);
  density::v1::SampleRequest sample;
  sample.set_model("power");
  sample.set_rows(100);
  density::v1::SampleResponse sampled;
  EXPECT_TRUE(server.estimator().Sample(Context().get(), sample, &sampled).ok());
  EXPECT_TRUE(IsOverQuota(server.estimator().Sample(Context().get(), sample, &sampled)));
  density::v1::StreamSampleRequest stream;
  *stream.mutable_sample() = sample;
  const auto stream_context = Context();
  const auto reader = server.estimator().StreamSample(stream_context.get(), stream);
  EXPECT_FALSE(reader->Read(&sampled));
  EXPECT_TRUE(IsOverQuota(reader->Finish()));
  density::v1::ExplainRequest explain;
  explain.set_model("power");
  *explain.mutable_rows() = Rows(1, {0});
  density::v1::ExplainResponse explained;
  EXPECT_TRUE(IsOverQuota(server.estimator().Explain(Context().get(), explain, &explained)));
}

TEST_F(QuotaRpcTest, AnExplanationIsPaidByThePointsThatItLooksAt) {
  TestServer& server = Start({.rows_per_second = 10});
  density::v1::ExplainRequest explain;
  explain.set_model("power");
  *explain.mutable_rows() = Rows(1, {0});
  density::v1::ExplainResponse explained;
  const grpc::Status status = server.estimator().Explain(Context().get(), explain, &explained);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(IsOverQuota(LogProb(server.estimator(), 1)));
}

TEST_F(QuotaRpcTest, RowsThatAreRefusedForAnotherReasonAreNotCounted) {
  TestServer& server = Start({.rows_per_second = 1000});
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(LogProb(server.estimator(), 5000, "", 2).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_EQ(LogProb(server.estimator(), 5001).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(LogProb(server.estimator(), 1).ok());
}

TEST_F(QuotaRpcTest, AStreamUnderWayWaitsForItsRows) {
  constexpr uint64_t kRows = 2500;
  TestServer& server = Start({.rows_per_second = 1000});
  density::v1::StreamSampleRequest request;
  request.mutable_sample()->set_model("power");
  request.mutable_sample()->set_rows(kRows);
  request.set_chunk_rows(500);
  const auto context = Context();
  const absl::Time begin = absl::Now();
  const auto reader = server.estimator().StreamSample(context.get(), request);
  density::v1::SampleResponse chunk;
  uint64_t rows = 0;
  while (reader->Read(&chunk)) rows += chunk.rows().rows();
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(rows, kRows);
  EXPECT_GE(absl::Now() - begin, absl::Seconds(1)) << "the last chunk begins when the four before it are paid for";
}

TEST_F(QuotaRpcTest, ACallTooManyIsRefusedAndControlCallsCountToo) {
  TestServer& server = Start({.calls = 1});
  server.probe().Hold();
  std::thread first([&] { EXPECT_TRUE(LogProb(server.estimator(), 1).ok()); });
  server.probe().AwaitRuns(1);
  const auto other = Estimator::NewStub(server.Connect());
  EXPECT_TRUE(IsOverQuota(LogProb(*other, 1)));
  density::v1::ListModelsResponse models;
  EXPECT_TRUE(IsOverQuota(server.registry().List(Context().get(), {}, &models)));
  EXPECT_THAT(server.metrics().Text(), HasSubstr("densityd_rejected_total{reason=\"client_calls\"} 2"));
  server.probe().Release();
  first.join();
}

TEST_F(QuotaRpcTest, WhoSendsOneCallAfterTheOtherHasOneInFlight) {
  TestServer& server = Start({.calls = 1});
  density::v1::ListModelsResponse models;
  for (int i = 0; i < 300; ++i) {
    const grpc::Status status =
        i % 3 == 0 ? server.registry().List(Context().get(), {}, &models) : LogProb(server.estimator(), 1);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
}

TEST_F(QuotaRpcTest, NamesHaveQuotasOfTheirOwnWhoeverTheirAddress) {
  const TempFolder folder;
  const std::string file = folder.Path("grants");
  const auto line = [](const std::string& name, const std::string& token, const std::string& rest) {
    return absl::StrCat("name=", name, " token=", ToAbsl(TokenId(token)), ":", TokenDigest(token), " rights=infer ",
                        rest, "\n");
  };
  const std::string small = NewToken();
  const std::string small_too = NewToken();
  const std::string usual = NewToken();
  const std::string large = NewToken();
  const auto write = [&](const std::string& limit) {
    WriteFile(file, line("small", small, limit) + line("small", small_too, limit) + line("usual", usual, "") +
                        line("large", large, "max_rows_per_second=0"));
  };
  write("max_rows_per_second=2");
  const auto authorizer =
      Authorizer::Open(file, Clock::Real(), absl::InfiniteDuration(), {.rows_per_second = 3}).value();
  TestServer& server = Start({.rows_per_second = 3}, authorizer.get());
  server.metrics().AddSource(
      std::make_unique<ClientMetrics>([&authorizer = *authorizer] { return authorizer.Quotas(); }));
  const auto refused_with = [&](const std::string& token) {
    EXPECT_TRUE(LogProb(server.estimator(), 1000, token).ok());
    return LogProb(server.estimator(), 1, token);
  };
  EXPECT_THAT(refused_with(small).error_message(), HasSubstr("\"small\" has used up its quota of 2 rows"));
  EXPECT_TRUE(IsOverQuota(LogProb(server.estimator(), 1, small_too))) << "another token of the same name";
  EXPECT_THAT(refused_with(usual).error_message(), HasSubstr("\"usual\" has used up its quota of 3 rows"));
  EXPECT_TRUE(refused_with(large).ok());
  const std::string text = server.metrics().Text();
  EXPECT_THAT(text, HasSubstr("densityd_client_rows_total{client=\"large\"} 1001"));
  EXPECT_THAT(text, HasSubstr("densityd_client_refused_total{client=\"small\",reason=\"rows\"} 2"));
  EXPECT_THAT(text, HasSubstr("densityd_client_calls{client=\"usual\"} 0"));

  write("max_rows_per_second=0");
  authorizer->Refresh();
  EXPECT_TRUE(LogProb(server.estimator(), 1, small).ok()) << "the file is read again";
  EXPECT_THAT(server.metrics().Text(), HasSubstr("densityd_client_rows_total{client=\"small\"} 1001"));
  server_.reset();
}

}  // namespace
}  // namespace densityd::rpc
