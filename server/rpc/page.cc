#include "server/rpc/page.h"

#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/base/errors.h"
#include "server/base/strings.h"

namespace densityd::rpc {
namespace {

/// Tokens of another kind or version are refused instead of misread.
constexpr std::string_view kPrefix = "1:";
constexpr size_t kMaxTokenBytes = 1024;

}  // namespace

absl::StatusOr<std::string> DecodePageToken(std::string_view token) {
  if (token.empty()) return std::string();
  std::string text;
  if (token.size() > kMaxTokenBytes || !absl::WebSafeBase64Unescape(ToAbsl(token), &text) ||
      text.compare(0, kPrefix.size(), kPrefix) != 0) {
    return InvalidArgument("page_token", "is not a next_page_token of this server");
  }
  return text.substr(kPrefix.size());
}

std::string EncodePageToken(std::string_view key) {
  return absl::WebSafeBase64Escape(absl::StrCat(ToAbsl(kPrefix), ToAbsl(key)));
}

absl::StatusOr<uint32_t> CheckPageSize(uint32_t page_size) {
  if (page_size > kMaxPageSize) {
    return InvalidArgument("page_size", absl::StrCat("is ", page_size, "; at most ", kMaxPageSize, " are allowed"));
  }
  return page_size == 0 ? kDefaultPageSize : page_size;
}

std::string NewestFirstKey(const google::protobuf::Timestamp& time, std::string_view id) {
  const int64_t nanoseconds = time.seconds() * 1'000'000'000 + time.nanos();
  return absl::StrFormat("%019d/%s", std::numeric_limits<int64_t>::max() - nanoseconds, ToAbsl(id));
}

}  // namespace densityd::rpc
