#include "server/base/tellable.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/base/strings.h"

namespace densityd {
namespace {

bool IsUtf8(std::string_view text) {
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (std::all_of(text.begin(), text.end(), is_ascii)) return true;
  try {
    (void)nlohmann::json(text).dump();
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

}  // namespace

std::string Tellable(std::string_view text, size_t limit) {
  std::string told(text);
  if (!IsUtf8(text)) told = absl::CHexEscape(ToAbsl(text));
  if (told.size() <= limit) return told;
  while (limit > 0 && (static_cast<unsigned char>(told[limit]) & 0xC0) == 0x80) --limit;  // not within a character
  told.resize(limit);
  return absl::StrCat(told, "… (", text.size(), " bytes)");
}

}  // namespace densityd
