#include "server/rpc/status.h"

#include <gtest/gtest.h>

#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/base/errors.h"

namespace densityd::rpc {
namespace {

google::rpc::Status DetailsOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

TEST(ToGrpcStatus, OfOkIsOk) { EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok()); }

TEST(ToGrpcStatus, KeepsEveryCode) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status = ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "why"));
    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_EQ(status.error_message(), "why");
  }
}

TEST(ToGrpcStatus, CarriesTheDetails) {
  const grpc::Status status = ToGrpcStatus(InvalidRow("rows", 7, "column 1 is nan"));
  const google::rpc::Status details = DetailsOf(status);
  EXPECT_EQ(details.code(), 3);
  EXPECT_EQ(details.message(), status.error_message());
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::BadRequest bad_request;
  ASSERT_TRUE(details.details(0).UnpackTo(&bad_request));
  ASSERT_EQ(bad_request.field_violations_size(), 1);
  EXPECT_NE(bad_request.field_violations(0).field().find("rows"), std::string::npos);
}

TEST(ToGrpcStatus, LeavesOutForeignPayloads) {
  absl::Status status = absl::InternalError("x");
  status.SetPayload("example.com/secret", absl::Cord("secret"));
  EXPECT_EQ(DetailsOf(ToGrpcStatus(status)).details_size(), 0);
}

TEST(ToGrpcStatus, StaysBelowTheLimitOfTrailers) {
  absl::Status status = absl::InternalError(std::string(100000, 'x'));
  status.SetPayload("type.googleapis.com/google.rpc.DebugInfo", absl::Cord(std::string(100000, 'y')));
  const grpc::Status answer = ToGrpcStatus(status);
  EXPECT_LT(answer.error_message().size() + answer.error_details().size() * 4 / 3, 8192u);
}

TEST(ToGrpcStatus, MakesAnyMessagePrintable) {
  const grpc::Status status = ToGrpcStatus(absl::NotFoundError(std::string("a\0b\xff\x1b[31m", 9)));
  EXPECT_EQ(status.error_message(), "a?b??[31m");
}

}  // namespace
}  // namespace densityd::rpc
