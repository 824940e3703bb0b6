// Explain over a real socket; the fake plan's density is a standard normal times exp(-context).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using density::v1::ExplainRequest;
using density::v1::ExplainResponse;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ExplainRpcTest : public ::testing::Test {
 protected:
  ExplainRpcTest() {
    server_.Publish("normal", 2);
    server_.Publish("weather", 2, /*context=*/1);
    server_.Publish("bare", 2, /*context=*/0, /*calibrated=*/false);
  }

  grpc::Status Explain(const std::string& model, const std::vector<float>& values,
                       const std::function<void(ExplainRequest&)>& change = nullptr) {
    ExplainRequest request;
    request.set_model(model);
    *request.mutable_rows() = Rows(2, values);
    if (change) change(request);
    response_.Clear();
    return server_.estimator().Explain(Context().get(), request, &response_);
  }

  TestServer server_;
  ExplainResponse response_;
};

TEST_F(ExplainRpcTest, ConditionalsOfANormalAreItsMarginals) {
  ASSERT_TRUE(Explain("normal", {0.5, -2, 3, 0}).ok());
  EXPECT_EQ(response_.model().name(), "normal");
  EXPECT_NEAR(response_.log_prob().values(0), -(0.25 + 4) / 2, 1e-5);
  const std::vector<double> x = {0.5, -2, 3, 0};
  ASSERT_EQ(response_.surprise().values_size(), 4);
  EXPECT_EQ(response_.surprise().cols(), 2u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(response_.surprise().values(i), x[i] * x[i] / 2 + 0.5 * std::log(2 * M_PI), 2e-3);
    EXPECT_NEAR(response_.tail_probability().values(i), std::erfc(std::abs(x[i]) / std::sqrt(2.0)), 2e-3);
    EXPECT_NEAR(response_.median().values(i), 0, 2e-3);
    EXPECT_NEAR(response_.lower().values(i), -1.6449, 4e-3);
    EXPECT_NEAR(response_.upper().values(i), 1.6449, 4e-3);
    EXPECT_LT(response_.error().values(i), 2e-3);
  }
}

TEST_F(ExplainRpcTest, ColumnsAreAnsweredAsAsked) {
  const auto one = [](ExplainRequest& request) { request.add_columns(1); };
  ASSERT_TRUE(Explain("normal", {0.5, -2}, one).ok());
  ASSERT_EQ(response_.surprise().values_size(), 1);
  EXPECT_NEAR(response_.surprise().values(0), 2 + 0.5 * std::log(2 * M_PI), 2e-3);
}

TEST_F(ExplainRpcTest, TheChainRuleSplitsLogPInTheModelsOrder) {
  ASSERT_TRUE(Explain("normal", {0.5, -2, 3, 0}, [](ExplainRequest& request) {
                request.set_chain_rule(true);
                request.add_columns(1);
              }).ok());
  EXPECT_THAT(response_.chain_order(), ElementsAre(0, 1));
  EXPECT_EQ(response_.no_chain_rule_because(), "");
  // All columns, whichever are explained.
  EXPECT_EQ(response_.chain_rule().rows(), 2u);
  EXPECT_EQ(response_.chain_rule().cols(), 2u);
  EXPECT_THAT(response_.chain_rule().values(), ElementsAre(0.125, 2, 4.5, 0));
  EXPECT_EQ(response_.surprise().values_size(), 2);
  for (int row = 0; row < 2; ++row) {
    const double sum = response_.chain_rule().values(2 * row) + response_.chain_rule().values(2 * row + 1);
    EXPECT_NEAR(sum, -response_.log_prob().values(row), 1e-5);
  }
}

TEST_F(ExplainRpcTest, TheChainRuleIsAnsweredOnlyWhereItIsAskedFor) {
  ASSERT_TRUE(Explain("normal", {0.5, -2}).ok());
  EXPECT_FALSE(response_.has_chain_rule());
  EXPECT_EQ(response_.chain_order_size(), 0);
  EXPECT_EQ(response_.no_chain_rule_because(), "");
}

TEST_F(ExplainRpcTest, AModelWithoutAnOrderOfColumnsSaysWhy) {
  server_.Publish("mixed", 2, /*context=*/0, /*calibrated=*/true, [](density::v1::FlowSpec& spec) {
    spec.mutable_layers(0)->mutable_autoregressive();
    spec.add_layers()->mutable_coupling();
  });
  ASSERT_TRUE(Explain("mixed", {0.5, -2}, [](ExplainRequest& request) { request.set_chain_rule(true); }).ok());
  EXPECT_FALSE(response_.has_chain_rule());
  EXPECT_THAT(response_.no_chain_rule_because(),
              AllOf(HasSubstr("spec.layers[1] (coupling)"), HasSubstr("SAME_ORDER")));
  EXPECT_EQ(response_.surprise().values_size(), 2);
}

TEST_F(ExplainRpcTest, EachRowIsExplainedInItsContext) {
  ASSERT_TRUE(Explain("weather", {0, 0, 1, 1}, [](ExplainRequest& request) {
                *request.mutable_context() = Rows(1, {3, 40});
              }).ok());
  EXPECT_NEAR(response_.log_prob().values(0), -3, 1e-5);
  EXPECT_NEAR(response_.log_prob().values(1), -41, 1e-5);
  // A factor that depends on the context alone cancels.
  EXPECT_NEAR(response_.surprise().values(2), 0.5 + 0.5 * std::log(2 * M_PI), 2e-3);
  ASSERT_TRUE(Explain("weather", {0, 0, 1, 1}, [](ExplainRequest& request) {
                *request.mutable_context() = Rows(1, {3});
              }).ok());
  EXPECT_NEAR(response_.log_prob().values(1), -4, 1e-5);
}

TEST_F(ExplainRpcTest, AnswersAreEncodedAsTheRows) {
  ASSERT_TRUE(Explain("normal", {0, 0}, [](ExplainRequest& request) {
                const double row[] = {0.25, 0.5};
                request.mutable_rows()->clear_values();
                request.mutable_rows()->set_f64_le(std::string(reinterpret_cast<const char*>(row), sizeof row));
              }).ok());
  EXPECT_EQ(response_.surprise().f64_le().size(), 2 * sizeof(double));
}

TEST_F(ExplainRpcTest, BadColumnsAreNamed) {
  grpc::Status status = Explain("normal", {0, 0}, [](ExplainRequest& request) {
    request.add_columns(0);
    request.add_columns(2);
  });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), AllOf(HasSubstr("columns[1]"), HasSubstr("2 columns")));
  status = Explain("normal", {0, 0}, [](ExplainRequest& request) {
    request.add_columns(1);
    request.add_columns(1);
  });
  EXPECT_THAT(status.error_message(), HasSubstr("columns[1]: repeats column 1"));
}

TEST_F(ExplainRpcTest, TooMuchAtOnceIsRefusedBeforeAnythingIsComputed) {
  const grpc::Status status = Explain("normal", std::vector<float>(2 * 2049));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("2048 rows"));
  EXPECT_EQ(server_.probe().rows(), 0u);
  const auto one = [](ExplainRequest& request) { request.add_columns(0); };
  EXPECT_TRUE(Explain("normal", std::vector<float>(2 * 2049), one).ok());
}

// The row itself has a log p; the integral over its column asks beyond it.
TEST_F(ExplainRpcTest, APointThatCannotBeComputedIsToldAsARowAndColumnOfTheRequest) {
  const auto far = static_cast<float>(kFakeFarthest);
  for (const int first : {0, 40}) {
    std::vector<float> values(2 * first, 0.5);
    values.insert(values.end(), {0.25, far});
    const grpc::Status status = Explain("normal", values);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(),
                AllOf(StartsWith("rows: row " + std::to_string(first) + ": column 1 cannot be explained"),
                      HasSubstr("with 1e+06 in its place"), HasSubstr("is too far out for the fake")));
    // The other column can.
    EXPECT_TRUE(Explain("normal", values, [](ExplainRequest& request) { request.add_columns(0); }).ok());
  }
}

TEST_F(ExplainRpcTest, ARowThatCannotBeComputedIsNamed) {
  const grpc::Status status = Explain("normal", {0, 0, 0, 2 * static_cast<float>(kFakeFarthest)});
  EXPECT_EQ(status.error_message(), "rows: row 1: is too far out for the fake");
}

TEST_F(ExplainRpcTest, ARowWhoseLogPIsNotANumberHasNoAnswersAndItsNeighboursHaveTheirs) {
  ASSERT_TRUE(Explain("normal", {0, -2 * static_cast<float>(kFakeFarthest), 0.5, -2}).ok());
  EXPECT_TRUE(std::isnan(response_.log_prob().values(0)));
  for (const density::v1::Matrix* matrix : {&response_.surprise(), &response_.tail_probability(), &response_.median(),
                                            &response_.lower(), &response_.upper(), &response_.error()}) {
    for (int i = 0; i < 4; ++i) EXPECT_EQ(std::isnan(matrix->values(i)), i < 2) << i;
  }
  EXPECT_NEAR(response_.surprise().values(3), 2 + 0.5 * std::log(2 * M_PI), 2e-3);
}

// The standard error of an estimated log p is |x_0| / 10.
TEST_F(ExplainRpcTest, TheErrorOfAnEstimateIsInTheErrorOfItsRow) {
  server_.Publish("estimate", kFakeEstimateFeatures);
  ASSERT_TRUE(Explain("estimate", {}, [](ExplainRequest& request) {
                *request.mutable_rows() = Rows(kFakeEstimateFeatures, {2, 0, 0.5, 1, 0, 0, 0.5, 1});
              }).ok());
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(response_.error().values(i), 0.2, 0.05) << i;
    EXPECT_LT(response_.error().values(4 + i), 2e-3) << i;
    EXPECT_NEAR(response_.median().values(i), 0, 0.05);
  }
}

// Tolerances of 1e-3 and more leave no three digits of an integral: more points would cost, and give nothing.
TEST_F(ExplainRpcTest, ASolversToleranceIsInTheErrorAndSavesPoints) {
  const auto solved_to = [this](const std::string& name, double tolerance) {
    server_.Publish(name, 2, /*context=*/0, /*calibrated=*/true, [tolerance](density::v1::FlowSpec& spec) {
      auto& layer = *spec.mutable_layers(0)->mutable_continuous();
      layer.set_atol(tolerance);
      layer.set_rtol(tolerance);
    });
    const uint64_t before = server_.probe().rows();
    EXPECT_TRUE(Explain(name, {0.5, -2}, [](ExplainRequest& request) {
                  request.set_precision(density::v1::PRECISION_FLOAT64);
                }).ok());
    return server_.probe().rows() - before;
  };
  const uint64_t exact = solved_to("exact", 1e-12);
  EXPECT_LT(response_.error().values(0), 1e-6);
  const uint64_t coarse = solved_to("coarse", 1e-3);
  EXPECT_GT(response_.error().values(0), 1e-3);
  EXPECT_LT(response_.error().values(0), 0.1);
  EXPECT_LT(coarse, exact);
}

TEST_F(ExplainRpcTest, AModelWithoutRangesCannotBeExplained) {
  const grpc::Status status = Explain("bare", {0, 0});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("ranges of its columns"));
}

TEST_F(ExplainRpcTest, ACallThatIsGivenUpEndsBetweenItsRounds) {
  server_.probe().Hold();
  ExplainRequest request;
  request.set_model("normal");
  *request.mutable_rows() = Rows(2, {0, 0});
  auto context = Context();
  grpc::CompletionQueue queue;
  auto call = server_.estimator().AsyncExplain(context.get(), request, &queue);
  grpc::Status status;
  call->Finish(&response_, &status, this);
  server_.probe().AwaitRuns(1);
  context->TryCancel();
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  server_.probe().Release();
  // The server goes on to answer others.
  EXPECT_TRUE(Explain("normal", {0, 0}).ok());
}

}  // namespace
}  // namespace densityd::rpc
