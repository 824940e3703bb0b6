// manifest.json behind a digest that fits: what was read is written and read again unchanged.
#include <string_view>

#include "google/protobuf/util/message_differencer.h"
#include "server/registry/manifest.h"
#include "tests/fuzz/check.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace densityd;
  using google::protobuf::util::MessageDifferencer;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto manifest = registry::ParseAnyManifest(text, registry::FormatManifestDigest(text), "input");
  if (!manifest.ok()) {
    FUZZ_CHECK(fuzz::IsTold(manifest.status(), absl::StatusCode::kDataLoss, absl::StatusCode::kFailedPrecondition));
    return 0;
  }
  const auto written = registry::FormatManifest(*manifest);
  FUZZ_CHECK(written.ok());
  const auto again = registry::ParseAnyManifest(*written, registry::FormatManifestDigest(*written), "again");
  FUZZ_CHECK(again.ok() && MessageDifferencer::ApproximatelyEquivalent(*again, *manifest));
  return 0;
}
