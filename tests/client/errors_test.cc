#include "densityd/errors.h"

#include "client/lib/status.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace densityd {
namespace {

using client_internal::FromGrpc;
using testing::HasSubstr;
using testing::Not;

google::rpc::BadRequest BadField(const std::string& field, const std::string& description) {
  google::rpc::BadRequest detail;
  detail.add_field_violations()->set_field(field);
  detail.mutable_field_violations(0)->set_description(description);
  return detail;
}

TEST(ErrorsTest, EveryCodeAndMessageArrivesUnchanged) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status = FromGrpc({static_cast<grpc::StatusCode>(code), "why"});
    EXPECT_EQ(static_cast<int>(status.code()), code);
    EXPECT_EQ(status.message(), "why");
  }
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
}

TEST(ErrorsTest, DetailsCanBeRead) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(1);
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  const absl::Status status = FromGrpc(ErrorWith(grpc::StatusCode::INVALID_ARGUMENT, "rows: row 3: not finite",
                                                 BadField("rows", "row 3: not finite"), retry));
  ASSERT_EQ(FieldViolations(status).size(), 1u);
  EXPECT_EQ(FieldViolations(status)[0].field, "rows");
  EXPECT_EQ(FieldViolations(status)[0].description, "row 3: not finite");
  EXPECT_EQ(RetryDelay(status), absl::Milliseconds(1500));
}

TEST(ErrorsTest, TextAddsOnlyWhatTheMessageDoesNotSay) {
  const std::string said = ErrorText(FromGrpc(
      ErrorWith(grpc::StatusCode::INVALID_ARGUMENT, "rows: row 3: not finite", BadField("rows", "row 3: not finite"))));
  EXPECT_EQ(said, "INVALID_ARGUMENT: rows: row 3: not finite");
  const std::string added = ErrorText(FromGrpc(
      ErrorWith(grpc::StatusCode::INVALID_ARGUMENT, "bad request", BadField("layers[3].coupling.mask", "is empty"))));
  EXPECT_EQ(added, "INVALID_ARGUMENT: bad request\n  layers[3].coupling.mask: is empty");
}

TEST(ErrorsTest, TextSaysWhichResourceAndWhenToTryAgain) {
  google::rpc::ResourceInfo resource;
  resource.set_resource_type("model");
  resource.set_resource_name("power@7");
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(2);
  const std::string text = ErrorText(FromGrpc(ErrorWith(grpc::StatusCode::NOT_FOUND, "no such", resource, retry)));
  EXPECT_THAT(text, HasSubstr("\n  model power@7"));
  EXPECT_THAT(text, HasSubstr("\n  try again in 2s"));
}

TEST(ErrorsTest, UnreadableDetailsDoNotHideTheError) {
  const absl::Status status = FromGrpc(grpc::Status(grpc::StatusCode::NOT_FOUND, "no such model", "\xff\xff junk"));
  EXPECT_EQ(ErrorText(status), "NOT_FOUND: no such model");
  EXPECT_TRUE(FieldViolations(status).empty());
  EXPECT_FALSE(RetryDelay(status).has_value());
}

}  // namespace
}  // namespace densityd
