#include "server/base/strings.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace densityd {

std::string Quote(std::string_view text, size_t limit) {
  if (text.size() <= limit) return absl::StrCat("\"", absl::CHexEscape(ToAbsl(text)), "\"");
  return absl::StrCat("\"", absl::CHexEscape(ToAbsl(text.substr(0, limit))), "\"… (", text.size(), " bytes)");
}

}  // namespace densityd
