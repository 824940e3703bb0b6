#include "server/rpc/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/rpc/listen.h"
#include "tests/base/temp_folder.h"

namespace densityd::rpc {
namespace {

using ::testing::HasSubstr;

TEST(Loopback, IsThisMachineOnly) {
  for (const char* address : {"127.0.0.1:50051", "127.8.8.8:0", "localhost:1", "[::1]:0", "unix:/run/densityd"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  for (const char* address : {"0.0.0.0:50051", "[::]:50051", "10.0.0.1:1", "example.org:1", ":50051", "",
                              "127.0.0.1.example.org:1", "127.example.org:443", "localhost.example.org:1", "[::]:0"}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

TEST(Credentials, ArePlainOnThisMachineOnlyUnlessAllowed) {
  EXPECT_TRUE(MakeCredentials({}, "127.0.0.1:0", false).ok());
  EXPECT_TRUE(MakeCredentials({}, "0.0.0.0:0", true).ok());
  const absl::Status refused = MakeCredentials({}, "0.0.0.0:0", false).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("--insecure-listen-beyond-loopback"));
}

TEST(Credentials, NeedCertificateAndKeyTogether) {
  for (const TlsOptions& tls : {TlsOptions{.certificate = "a", .key = "", .client_ca = ""},
                                TlsOptions{.certificate = "", .key = "a", .client_ca = ""},
                                TlsOptions{.certificate = "", .key = "", .client_ca = "a"}}) {
    EXPECT_EQ(MakeCredentials(tls, "127.0.0.1:0", true).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(Credentials, NameTheFileThatIsAbsentOrNotPem) {
  const densityd::testing::TempFolder folder;
  const std::string junk = folder.Path("junk.pem");
  densityd::testing::WriteFile(junk, "not a certificate");
  const absl::Status not_pem = MakeCredentials({junk, junk, ""}, "127.0.0.1:0", false).status();
  EXPECT_EQ(not_pem.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(not_pem.message()), HasSubstr(junk));
  const std::string absent = folder.Path("absent.pem");
  const absl::Status not_found = MakeCredentials({absent, absent, ""}, "127.0.0.1:0", false).status();
  EXPECT_EQ(not_found.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(not_found.message()), HasSubstr(absent));
}

}  // namespace
}  // namespace densityd::rpc
