// Archives: the same members and the same end however the bytes are cut.
#include <algorithm>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "server/registry/tar.h"
#include "tests/fuzz/check.h"

namespace densityd::fuzz {
namespace {

/// Everything that the reader told about `bytes`, given to it in pieces of `piece` bytes.
std::string Read(std::string_view bytes, size_t piece) {
  std::string told;
  uint64_t expected = 0;
  registry::TarReader reader({
      .begin =
          [&](const std::string& name, uint64_t size) {
            absl::StrAppend(&told, "[", name, ":", size, " ");
            expected = size;
            return absl::OkStatus();
          },
      .data =
          [&](std::string_view part) {
            FUZZ_CHECK(part.size() <= expected);
            expected -= part.size();
            told += part;
            return absl::OkStatus();
          },
      .end =
          [&] {
            FUZZ_CHECK(expected == 0);
            told += "]";
            return absl::OkStatus();
          },
  });
  absl::Status status;
  while (status.ok() && !bytes.empty()) {
    status = reader.Append(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  if (status.ok()) status = reader.Finish();
  FUZZ_CHECK(status.ok() || IsTold(status, absl::StatusCode::kInvalidArgument));
  // Of what comes before an error a reader may have told more or less: how far it came depends on the pieces.
  return status.ok() ? told : "error";
}

}  // namespace
}  // namespace densityd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string whole = densityd::fuzz::Read(bytes, std::max<size_t>(1, size));
  FUZZ_CHECK(whole.size() <= 2 * size + 512);
  for (const size_t piece : {1, 100, 512, 513}) FUZZ_CHECK(densityd::fuzz::Read(bytes, piece) == whole);
  return 0;
}
