// aliases.json, with and without a checksum that fits.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "server/base/sha256.h"
#include "server/registry/alias_file.h"
#include "tests/fuzz/check.h"

namespace densityd::fuzz {
namespace {

void CheckRead(std::string_view text) {
  const auto record = registry::ParseAliases(text, "input");
  if (!record.ok()) {
    FUZZ_CHECK(IsTold(record.status(), absl::StatusCode::kDataLoss));
    return;
  }
  const auto again = registry::ParseAliases(registry::FormatAliases(*record), "again");
  FUZZ_CHECK(again.ok() && again->revision == record->revision && again->versions == record->versions &&
             again->highest_deleted == record->highest_deleted);
}

}  // namespace
}  // namespace densityd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace densityd;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  fuzz::CheckRead(text);
  // The same with the right checksum, which no fuzzer guesses.
  nlohmann::json json = nlohmann::json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("aliases")) return 0;
  constexpr auto kReplace = nlohmann::json::error_handler_t::replace;
  json["sha256"] = Sha256Hex(json["aliases"].dump(-1, ' ', false, kReplace));
  fuzz::CheckRead(json.dump(-1, ' ', false, kReplace));
  return 0;
}
