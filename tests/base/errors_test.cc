#include "server/base/errors.h"

#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "server/base/bad_row.h"
#include "server/base/logging.h"
#include "server/base/strings.h"

namespace densityd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

template <typename Detail>
std::optional<Detail> DetailOf(const absl::Status& status) {
  const auto payload = status.GetPayload(absl::StrCat("type.googleapis.com/", Detail::descriptor()->full_name()));
  if (!payload) return std::nullopt;
  Detail detail;
  EXPECT_TRUE(detail.ParseFromString(std::string(*payload)));
  return detail;
}

TEST(ErrorsTest, InvalidArgumentNamesTheField) {
  const absl::Status status = InvalidArgument("spec.layers[3].coupling.mask", "is empty");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "spec.layers[3].coupling.mask: is empty");
  const auto detail = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->field_violations(0).field(), "spec.layers[3].coupling.mask");
  EXPECT_EQ(detail->field_violations(0).description(), "is empty");
}

TEST(ErrorsTest, InvalidRowNamesTheRow) {
  const absl::Status status = InvalidRow("rows", 17, "column 2 is NaN");
  EXPECT_EQ(status.message(), "rows: row 17: column 2 is NaN");
  const auto detail = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->field_violations(0).field(), "rows[17]");
}

TEST(ErrorsTest, WhatInvalidRowWasGivenIsFoundAgain) {
  const auto bad = BadRowOf(Annotate(InvalidRow("layers[2].rows", 17, "column 2 is NaN"), "chunk 3"));
  ASSERT_TRUE(bad.has_value());
  EXPECT_EQ(bad->row, 17);
  EXPECT_EQ(bad->message, "column 2 is NaN");
  for (const absl::Status& other : {absl::OkStatus(), InvalidArgument("rows", "row 3 is bad"),
                                    InvalidArgument("columns[two]", "is no number"), absl::InvalidArgumentError("x")}) {
    EXPECT_FALSE(BadRowOf(other).has_value()) << other;
  }
}

TEST(ErrorsTest, TextsThatAreNoUtf8OrEndlessGetThrough) {
  const absl::Status status =
      InvalidArgument("columns[0]", absl::StrCat("\xff is no number", std::string(1 << 20, 'x')));
  EXPECT_THAT(std::string(status.message()), HasSubstr("\\xff is no number"));
  EXPECT_LT(status.message().size(), 1100);
  const auto detail = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_TRUE(detail.has_value());
  EXPECT_THAT(detail->field_violations(0).description(), HasSubstr("\\xff is no number"));
}

TEST(ErrorsTest, ResourcesAreNamed) {
  const struct {
    absl::Status status;
    absl::StatusCode code;
  } cases[] = {
      {NotFound("model", "power", "no such model"), absl::StatusCode::kNotFound},
      {AlreadyExists("model", "power", "exists"), absl::StatusCode::kAlreadyExists},
      {FailedPrecondition("model", "power", "is not loaded"), absl::StatusCode::kFailedPrecondition},
      {Aborted("model", "power", "changed"), absl::StatusCode::kAborted},
  };
  for (const auto& test : cases) {
    EXPECT_EQ(test.status.code(), test.code);
    const auto detail = DetailOf<google::rpc::ResourceInfo>(test.status);
    ASSERT_TRUE(detail.has_value()) << test.status;
    EXPECT_EQ(detail->resource_type(), "model");
    EXPECT_EQ(detail->resource_name(), "power");
  }
}

TEST(ErrorsTest, ResourceExhaustedSaysWhenToRetry) {
  const absl::Status status = ResourceExhausted("queue", "the queue is full", absl::Milliseconds(1250));
  const auto retry = DetailOf<google::rpc::RetryInfo>(status);
  ASSERT_TRUE(retry.has_value());
  EXPECT_EQ(retry->retry_delay().seconds(), 1);
  EXPECT_EQ(retry->retry_delay().nanos(), 250'000'000);
  const auto quota = DetailOf<google::rpc::QuotaFailure>(status);
  ASSERT_TRUE(quota.has_value());
  EXPECT_EQ(quota->violations(0).subject(), "queue");
}

TEST(ErrorsTest, ResourceExhaustedWithoutATimeHasNoRetryInfo) {
  EXPECT_FALSE(DetailOf<google::rpc::RetryInfo>(ResourceExhausted("disk", "full")).has_value());
}

TEST(ErrorsTest, DataLossNamesFileAndSection) {
  const absl::Status status = DataLoss("models/power/3/weights.safetensors", "header", "is cut short");
  EXPECT_EQ(status.message(), "models/power/3/weights.safetensors: header: is cut short");
  EXPECT_EQ(DetailOf<google::rpc::ResourceInfo>(status)->resource_name(), "models/power/3/weights.safetensors");
  EXPECT_EQ(DataLoss("FORMAT", "", "is empty").message(), "FORMAT: is empty");
}

TEST(ErrorsTest, InternalErrorsIdIsInTheLog) {
  std::ostringstream log;
  ConfigureLogging({.stream = &log});
  const absl::Status status = InternalError("the impossible happened");
  ConfigureLogging({});
  const auto line = nlohmann::json::parse(log.str());
  EXPECT_EQ(line["level"], "error");
  EXPECT_THAT(std::string(status.message()), HasSubstr(line["id"].get<std::string>()));
}

TEST(ErrorsTest, InternalErrorsHaveDifferentIds) {
  std::ostringstream log;
  ConfigureLogging({.stream = &log});
  EXPECT_NE(InternalError("x").message(), InternalError("x").message());
  ConfigureLogging({});
}

TEST(ErrorsTest, AnnotateKeepsCodeAndDetails) {
  const absl::Status status = Annotate(InvalidArgument("rows", "is empty"), "Train");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "Train: rows: is empty");
  EXPECT_TRUE(DetailOf<google::rpc::BadRequest>(status).has_value());
  EXPECT_TRUE(Annotate(absl::OkStatus(), "Train").ok());
}

TEST(QuoteTest, EscapesWhatIsNotPrintableAndBoundsTheLength) {
  EXPECT_EQ(Quote("power"), "\"power\"");
  EXPECT_EQ(Quote(std::string_view("a\0\n\xff\"", 5)), "\"a\\x00\\n\\xff\\\"\"");
  EXPECT_EQ(Quote(std::string(5000, 'x'), 3), "\"xxx\"… (5000 bytes)");
}

}  // namespace
}  // namespace densityd
