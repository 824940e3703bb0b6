// The file that says who may do what.
#include <string_view>

#include "server/rpc/grants.h"
#include "tests/fuzz/check.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace densityd;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto grants = rpc::Grants::Parse(text, "input");
  if (!grants.ok()) {
    FUZZ_CHECK(fuzz::IsTold(grants.status(), absl::StatusCode::kInvalidArgument));
    return 0;
  }
  // No text of the file is itself a token, and nothing is granted to nobody.
  const auto granted = grants->OfToken(text.substr(0, 200), absl::UnixEpoch());
  FUZZ_CHECK(!granted.ok() && fuzz::IsTold(granted.status(), absl::StatusCode::kUnauthenticated));
  FUZZ_CHECK(grants->OfCertificate({}, absl::UnixEpoch()) == nullptr);
  return 0;
}
