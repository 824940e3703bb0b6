#include "server/registry/alias_file.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/sha256.h"
#include "server/base/strings.h"
#include "server/registry/names.h"

namespace densityd::registry {
namespace {

using Json = nlohmann::json;  // sorts keys, so that its text is canonical

Json ToJson(const AliasRecord& record) {
  return {{"revision", record.revision}, {"versions", record.versions}, {"highest_deleted", record.highest_deleted}};
}

bool IsNumber(const Json& json, const char* member) {
  return json.contains(member) && json[member].is_number_unsigned();
}

/// Whether `json` has the form that ToJson gives it.
bool IsRecord(const Json& json) {
  if (!json.is_object() || json.size() != 3 || !IsNumber(json, "revision") || !IsNumber(json, "highest_deleted")) {
    return false;
  }
  if (!json.contains("versions") || !json["versions"].is_object()) return false;
  for (const auto& [alias, version] : json["versions"].items()) {
    if (!CheckAliasName("alias", alias).ok() || !version.is_number_unsigned() || version == 0) return false;
  }
  return true;
}

}  // namespace

std::string FormatAliases(const AliasRecord& record) {
  const Json aliases = ToJson(record);
  return Json({{"aliases", aliases}, {"sha256", Sha256Hex(aliases.dump())}}).dump(2) + "\n";
}

absl::StatusOr<AliasRecord> ParseAliases(std::string_view text, std::string_view file) {
  constexpr absl::string_view kAdvice = "; to start over without aliases, delete it";
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.size() != 2 || !json.contains("aliases") || !json.contains("sha256") ||
      !json["sha256"].is_string() || !IsRecord(json["aliases"])) {
    return DataLoss(file, "", absl::StrCat("is no list of aliases", kAdvice));
  }
  const Json& aliases = json["aliases"];
  if (json["sha256"] != Sha256Hex(aliases.dump())) {
    return DataLoss(file, "", absl::StrCat("its aliases do not have the SHA-256 that it gives", kAdvice));
  }
  AliasRecord record;
  record.revision = aliases["revision"].get<uint64_t>();
  record.highest_deleted = aliases["highest_deleted"].get<uint64_t>();
  record.versions = aliases["versions"].get<std::map<std::string, uint64_t>>();
  return record;
}

}  // namespace densityd::registry
