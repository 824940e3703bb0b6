#include "server/registry/names.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"

namespace densityd::registry {
namespace {

// Not <cctype>: those functions follow the locale.
bool IsLetter(char c) { return c >= 'a' && c <= 'z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// What a kind of name may be.
struct NameRule {
  size_t max_bytes;
  std::string_view extra;  ///< allowed beside letters and digits
  bool digit_first;
  std::string_view text;  ///< the rule in words
};

constexpr NameRule kModelRule = {
    128, "_.-", true, "1 to 128 characters of [a-z0-9_.-], starting with a letter or digit, not ending in a dot"};
constexpr NameRule kAliasRule = {64, "_-", false, "1 to 64 characters of [a-z0-9_-], starting with a letter"};
constexpr NameRule kIdRule = {64, "-", false, "1 to 64 characters of [a-z0-9-], starting with a letter"};

bool Fits(const NameRule& rule, std::string_view name) {
  const auto allowed = [&](char c) {
    return IsLetter(c) || IsDigit(c) || rule.extra.find(c) != std::string_view::npos;
  };
  return !name.empty() && name.size() <= rule.max_bytes && std::all_of(name.begin(), name.end(), allowed) &&
         (IsLetter(name.front()) || (rule.digit_first && IsDigit(name.front()))) && name.back() != '.';
}

absl::Status Check(const NameRule& rule, std::string_view field, std::string_view name) {
  if (Fits(rule, name)) return absl::OkStatus();
  return InvalidArgument(field, absl::StrCat(Quote(name), " is not ", ToAbsl(rule.text)));
}

}  // namespace

absl::Status CheckModelName(std::string_view field, std::string_view name) { return Check(kModelRule, field, name); }

absl::Status CheckAliasName(std::string_view field, std::string_view alias) { return Check(kAliasRule, field, alias); }

absl::Status CheckId(std::string_view field, std::string_view id) { return Check(kIdRule, field, id); }

std::optional<uint64_t> ParseVersionNumber(std::string_view text) {
  uint64_t version = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  // One spelling for each version: no leading zeros, which also rules out 0 itself.
  if (!whole || text.front() == '0' || version > kMaxVersion) return std::nullopt;
  return version;
}

absl::StatusOr<ModelReference> ParseModelReference(std::string_view field, std::string_view reference) {
  const size_t at = reference.find('@');
  const std::string_view name = reference.substr(0, at);
  if (absl::Status status = CheckModelName(field, name); !status.ok()) return status;
  if (at == std::string_view::npos) return ModelReference{std::string(name), std::nullopt, "latest"};
  const std::string_view suffix = reference.substr(at + 1);
  if (std::optional<uint64_t> version = ParseVersionNumber(suffix)) {
    return ModelReference{std::string(name), version, ""};
  }
  if (!Fits(kAliasRule, suffix)) {
    return InvalidArgument(field,
                           absl::StrCat(Quote(suffix), " after @ is neither a version (1, 2, 3 …) nor an alias (",
                                        ToAbsl(kAliasRule.text), ")"));
  }
  return ModelReference{std::string(name), std::nullopt, std::string(suffix)};
}

}  // namespace densityd::registry
