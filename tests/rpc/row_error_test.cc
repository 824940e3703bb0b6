// Every way in which a row request can be wrong: its code, its message, its details, and that nothing else happens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using density::v1::LogProbRequest;
using density::v1::SampleRequest;
using ::testing::HasSubstr;

/// The only detail of type `Detail`.
template <typename Detail>
Detail DetailOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  Detail detail;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&detail)) return detail;
  }
  ADD_FAILURE() << "no " << Detail::descriptor()->full_name() << " in " << details.DebugString();
  return detail;
}

class RowErrorTest : public ::testing::Test {
 protected:
  RowErrorTest() : server_({.limits = {.max_request_rows = 1000, .max_message_bytes = 16384}}) {
    server_.Publish("power", 2);
    server_.Publish("weather", 2, /*context=*/1, /*calibrated=*/false);
  }
  ~RowErrorTest() override { EXPECT_EQ(server_.probe().rows(), 0u) << "a refused request was computed"; }

  grpc::Status LogProb(const std::function<void(LogProbRequest&)>& change) {
    LogProbRequest request;
    request.set_model("power");
    *request.mutable_rows() = Rows(2, {1, 2, 3, 4});
    change(request);
    density::v1::LogProbResponse response;
    return server_.estimator().LogProb(Context().get(), request, &response);
  }

  grpc::Status Sample(const std::function<void(SampleRequest&)>& change) {
    SampleRequest request;
    request.set_model("power");
    request.set_rows(3);
    change(request);
    density::v1::SampleResponse response;
    return server_.estimator().Sample(Context().get(), request, &response);
  }

  void ExpectInvalid(const grpc::Status& status, const std::string& field, const std::string& message) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(field));
    EXPECT_THAT(status.error_message(), HasSubstr(message));
    const auto bad_request = DetailOf<google::rpc::BadRequest>(status);
    ASSERT_EQ(bad_request.field_violations_size(), 1);
    EXPECT_THAT(bad_request.field_violations(0).field(), HasSubstr(field));
  }

  TestServer server_;
};

TEST_F(RowErrorTest, RowsThatAreAbsent) {
  ExpectInvalid(LogProb([](LogProbRequest& request) { request.clear_rows(); }), "rows", "is required");
}

TEST_F(RowErrorTest, ZeroRows) {
  ExpectInvalid(LogProb([](LogProbRequest& request) {
                  request.mutable_rows()->clear_values();
                  request.mutable_rows()->set_rows(0);
                }),
                "rows", "at least one row");
  ExpectInvalid(Sample([](SampleRequest& request) { request.set_rows(0); }), "rows", "at least one row");
}

TEST_F(RowErrorTest, AnotherNumberOfColumns) {
  ExpectInvalid(LogProb([](LogProbRequest& request) {
                  *request.mutable_rows() = Rows(3, {1, 2, 3});
                }),
                "rows.cols", "is 3; the model has 2 columns");
}

TEST_F(RowErrorTest, NonFiniteNumbersWithRowAndColumn) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    const grpc::Status status = LogProb([bad](LogProbRequest& request) { request.mutable_rows()->set_values(3, bad); });
    ExpectInvalid(status, "rows", "row 1: column 1 is");
  }
}

TEST_F(RowErrorTest, ShapesThatOverflow) {
  for (const uint64_t rows : {uint64_t{1} << 63, uint64_t{1} << 62, ~uint64_t{0}}) {
    ExpectInvalid(LogProb([rows](LogProbRequest& request) { request.mutable_rows()->set_rows(rows); }), "rows", "");
  }
}

TEST_F(RowErrorTest, NumbersThatDoNotFillTheShape) {
  ExpectInvalid(LogProb([](LogProbRequest& request) { request.mutable_rows()->set_rows(3); }), "rows", "3 rows");
  ExpectInvalid(LogProb([](LogProbRequest& request) {
                  request.mutable_rows()->clear_values();
                  request.mutable_rows()->set_f32_le(std::string(15, '\0'));
                }),
                "rows", "15 bytes");
}

TEST_F(RowErrorTest, TwoEncodingsAtOnce) {
  ExpectInvalid(LogProb([](LogProbRequest& request) { request.mutable_rows()->set_f32_le(std::string(16, '\0')); }),
                "rows", "f32_le");
}

TEST_F(RowErrorTest, ContextForAModelWithoutContext) {
  ExpectInvalid(LogProb([](LogProbRequest& request) {
                  *request.mutable_context() = Rows(1, {1, 2});
                }),
                "context", "no context");
}

TEST_F(RowErrorTest, ContextThatIsMissingOrHasAnotherShape) {
  const auto with = [this](const density::v1::Matrix& context) {
    return LogProb([&context](LogProbRequest& request) {
      request.set_model("weather");
      *request.mutable_context() = context;
    });
  };
  ExpectInvalid(with({}), "context", "is required");
  ExpectInvalid(with(Rows(2, {1, 2, 3, 4})), "context.cols", "is 2; the model has 1");
  ExpectInvalid(with(Rows(1, {1, 2, 3})), "context.rows", "is 3; 2 (one per row) or 1");
  ExpectInvalid(with(Rows(1, {1, NAN})), "context", "row 1: column 0");
}

TEST_F(RowErrorTest, MoreRowsThanAllowed) {
  ExpectInvalid(Sample([](SampleRequest& request) { request.set_rows(1001); }), "rows", "--max-request-rows");
  ExpectInvalid(Sample([](SampleRequest& request) { request.set_rows(uint64_t{1} << 40); }), "rows",
                "--max-request-rows allows 1000");
}

TEST_F(RowErrorTest, AnswersThatAreTooLarge) {
  const auto sample = [this](uint64_t rows) {
    return Sample([rows](SampleRequest& request) {
      request.set_rows(rows);
      request.set_encoding(density::v1::ENCODING_F64_LE);
    });
  };
  // 1024 of 16384 bytes are left for everything but the numbers: 960 rows of 16 bytes fit, and not one more.
  ExpectInvalid(sample(961), "rows", "--max-message-bytes (16384)");
}

TEST_F(RowErrorTest, RequestsThatAreTooLarge) {
  for (const size_t rows : {size_t{2100}, size_t{3000}}) {
    const grpc::Status status = LogProb(
        [rows](LogProbRequest& request) { *request.mutable_rows() = Rows(2, std::vector<float>(2 * rows, 1)); });
    ExpectInvalid(status, "request", "--max-message-bytes allows 16384");
  }
  const grpc::Status far =
      LogProb([](LogProbRequest& request) { *request.mutable_rows() = Rows(2, std::vector<float>(20000, 1)); });
  EXPECT_EQ(far.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(RowErrorTest, RowsBeyondTheLastOne) {
  ExpectInvalid(Sample([](SampleRequest& request) { request.set_row_offset(~uint64_t{0} - 2); }), "row_offset",
                "2^64 - 1");
}

TEST_F(RowErrorTest, UnknownEnumValues) {
  ExpectInvalid(Sample([](SampleRequest& request) { request.set_encoding(static_cast<density::v1::Encoding>(7)); }),
                "encoding", "7");
  ExpectInvalid(LogProb([](LogProbRequest& request) { request.set_precision(static_cast<density::v1::Precision>(7)); }),
                "precision", "7");
}

TEST_F(RowErrorTest, HostileModelNames) {
  for (const std::string& name :
       {std::string(), std::string(".."), std::string("../power"), std::string("/etc/passwd"), std::string("power/1"),
        std::string("po\0wer", 6), std::string(4096, 'a'), std::string("p\xd0\xbewer"), std::string("power.tmp."),
        std::string(".tmp"), std::string("power@"), std::string("power@0"), std::string("power@-1"),
        std::string("power@99999999999999999999"), std::string("power@latest@1"), std::string("POWER")}) {
    const grpc::Status status = LogProb([&name](LogProbRequest& request) { request.set_model(name); });
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << name << ": " << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr("model"));
    EXPECT_LT(status.error_message().size(), 1000u);
  }
}

TEST_F(RowErrorTest, UnknownModelsVersionsAndAliases) {
  for (const char* name : {"nobody", "power@7", "power@nobody"}) {
    const grpc::Status status = LogProb([name](LogProbRequest& request) { request.set_model(name); });
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND) << name;
    EXPECT_FALSE(DetailOf<google::rpc::ResourceInfo>(status).resource_name().empty()) << name;
  }
}

TEST_F(RowErrorTest, ModelsThatAreNotLoaded) {
  density::v1::UnloadModelRequest unload;
  unload.set_model("power");
  density::v1::VersionInfo info;
  ASSERT_TRUE(server_.registry().Unload(Context().get(), unload, &info).ok());
  const grpc::Status status = LogProb([](LogProbRequest&) {});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("power"));
}

TEST_F(RowErrorTest, TailProbabilityWithoutCalibration) {
  const grpc::Status status = LogProb([](LogProbRequest& request) {
    request.set_model("weather");
    *request.mutable_context() = Rows(1, {1});
    request.set_tail_probability(true);
  });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("tail_probability"));
}

TEST_F(RowErrorTest, ScoresOfBadRows) {
  const auto score = [this](const density::v1::Matrix& rows, const density::v1::Matrix& context) {
    density::v1::ScoreRequest request;
    request.set_model("weather");
    *request.mutable_rows() = rows;
    *request.mutable_context() = context;
    density::v1::ScoreResponse response;
    return server_.estimator().Score(Context().get(), request, &response);
  };
  const grpc::Status wide = score(Rows(3, {1, 2, 3}), Rows(1, {1}));
  EXPECT_EQ(wide.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(wide.error_message(), HasSubstr("rows.cols: is 3"));
  const grpc::Status nan = score(Rows(2, {1, 2, 1, std::nanf("")}), Rows(1, {1}));
  EXPECT_EQ(nan.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(nan.error_message(), HasSubstr("row 1"));
  EXPECT_THAT(score(Rows(2, {1, 2}), {}).error_message(), HasSubstr("context: is required"));
}

}  // namespace
}  // namespace densityd::rpc
