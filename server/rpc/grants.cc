#include "server/rpc/grants.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/errors.h"
#include "server/base/strings.h"
#include "server/base/token.h"

namespace densityd::rpc {
namespace {

constexpr std::array<const char*, kRights> kRightNames = {"infer", "train", "admin", "metrics"};
constexpr size_t kIdDigits = 16;
constexpr size_t kDigestDigits = 64;

bool IsHex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// Whether `text` is `pattern`, in which * stands for any characters.
bool Matches(std::string_view pattern, std::string_view text) {
  size_t p = 0;
  size_t t = 0;
  size_t star = std::string_view::npos;
  size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

/// Reads one line; messages name the key.
class LineParser {
 public:
  absl::StatusOr<Grant> Parse(const std::vector<std::string>& words) {
    for (const std::string& word : words) {
      const size_t equals = word.find('=');
      const std::string key = word.substr(0, equals);
      if (equals == std::string::npos || equals + 1 == word.size()) return Bad(word, "is no KEY=VALUE");
      if (!seen_.insert(key).second) return Bad(key, "is there twice");
      if (absl::Status status = Take(key, word.substr(equals + 1)); !status.ok()) return status;
    }
    if (grant_.name.empty()) return Bad("name", "is missing");
    if (grant_.token_id.empty() == grant_.certificate.empty()) {
      return Bad("token", "or certificate is needed, and not both");
    }
    if (grant_.rights == 0) return Bad("rights", "is missing");
    if (grant_.models.empty()) grant_.models = {"*"};
    return std::move(grant_);
  }

 private:
  static absl::Status Bad(std::string_view what, absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat(ToAbsl(what), " ", problem));
  }

  absl::Status Take(const std::string& key, std::string value) {
    if (key == "token") return TakeToken(value);
    if (key == "rights") return TakeRights(value);
    if (key == "models") return TakeModels(value);
    if (key == "expires") return TakeExpiry(value);
    if (key == "priority") {
      grant_.always_batch = value == "batch";
      return grant_.always_batch ? absl::OkStatus() : Bad(key, "is not batch, which is all that it may be");
    }
    if (key == "max_rows_per_second") return TakeLimit(key, value, grant_.max_rows_per_second);
    if (key == "max_calls") return TakeLimit(key, value, grant_.max_calls);
    if (key != "name" && key != "certificate") {
      return Bad(key,
                 "is none of name, token, certificate, rights, models, expires, priority, max_rows_per_second, "
                 "max_calls");
    }
    (key == "name" ? grant_.name : grant_.certificate) = std::move(value);
    return absl::OkStatus();
  }

  absl::Status TakeToken(const std::string& value) {
    const std::vector<std::string> parts = absl::StrSplit(value, ':');
    if (parts.size() != 2 || !IsHex(parts[0], kIdDigits) || !IsHex(parts[1], kDigestDigits)) {
      // What stands here may be a token that was pasted whole: it is not repeated.
      return Bad("token", "is not ID:SHA256; `densityctl token create` prints such a line");
    }
    grant_.token_id = parts[0];
    grant_.token_digest = parts[1];
    return absl::OkStatus();
  }

  absl::Status TakeRights(const std::string& value) {
    const std::vector<std::string> names = absl::StrSplit(value, ',');
    for (const std::string& name : names) {
      const auto found = std::find(kRightNames.begin(), kRightNames.end(), name);
      if (found == kRightNames.end()) return Bad("rights", absl::StrCat("has ", Quote(name), ", which is none"));
      grant_.rights |= 1U << (found - kRightNames.begin());
    }
    return absl::OkStatus();
  }

  absl::Status TakeModels(const std::string& value) {
    grant_.models = absl::StrSplit(value, ',', absl::SkipEmpty());
    return grant_.models.empty() ? Bad("models", "names none") : absl::OkStatus();
  }

  absl::Status TakeExpiry(const std::string& value) {
    std::string error;
    if (absl::ParseTime("%Y-%m-%d", value, absl::UTCTimeZone(), &grant_.expires, &error)) return absl::OkStatus();
    return Bad("expires", "is no day such as 2027-01-31");
  }

  static absl::Status TakeLimit(const std::string& key, const std::string& value, std::optional<uint64_t>& limit) {
    const bool digits = value.find_first_not_of("0123456789") == std::string::npos;
    uint64_t number = 0;
    if (!digits || !absl::SimpleAtoi(value, &number)) return Bad(key, "is no whole number");
    limit = number;
    return absl::OkStatus();
  }

  Grant grant_;
  std::set<std::string> seen_;
};

/// What one name's lines must agree on.
using Quota = std::pair<std::optional<uint64_t>, std::optional<uint64_t>>;

}  // namespace

const char* RightName(Right right) { return kRightNames[static_cast<size_t>(right)]; }

bool Grant::Covers(std::string_view model) const {
  return std::any_of(models.begin(), models.end(), [&](const std::string& pattern) { return Matches(pattern, model); });
}

bool Grant::CoversAll() const { return std::find(models.begin(), models.end(), "*") != models.end(); }

absl::StatusOr<Grants> Grants::Parse(std::string_view text, std::string_view file) {
  Grants grants;
  std::map<std::string, Quota> quotas;  // by name
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(ToAbsl(text), '\n')) {
    ++number;
    const std::vector<std::string> words =
        absl::StrSplit(line.substr(0, line.find('#')), absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty()) continue;
    const std::string where = absl::StrCat(ToAbsl(file), ", line ", number);
    absl::StatusOr<Grant> grant = LineParser().Parse(words);
    if (!grant.ok()) return InvalidArgument(where, std::string(grant.status().message()));
    const Quota quota(grant->max_rows_per_second, grant->max_calls);
    if (quotas.try_emplace(grant->name, quota).first->second != quota) {
      return InvalidArgument(where, absl::StrCat("max_rows_per_second or max_calls is not what another line of ",
                                                 Quote(grant->name), " says; lines of one name share its quota"));
    }
    const bool is_token = !grant->token_id.empty();
    auto& table = is_token ? grants.tokens_ : grants.certificates_;
    const std::string key = is_token ? grant->token_id : grant->certificate;
    if (!table.try_emplace(key, *std::move(grant)).second) {
      return InvalidArgument(where, absl::StrCat(is_token ? "token " : "certificate ", Quote(key), " is there twice"));
    }
  }
  return grants;
}

void Grants::ForEach(absl::FunctionRef<void(Grant&)> visit) {
  for (auto* table : {&tokens_, &certificates_}) {
    for (auto& [key, grant] : *table) visit(grant);
  }
}

absl::StatusOr<const Grant*> Grants::OfToken(std::string_view token, absl::Time now) const {
  static const std::string kNobody(kDigestDigits, '0');
  const auto found = tokens_.find(TokenId(token));
  const std::string& expected = found == tokens_.end() ? kNobody : found->second.token_digest;
  const bool equal = EqualInConstantTime(TokenDigest(token), expected);
  if (!equal || found == tokens_.end()) return absl::UnauthenticatedError("the token is not valid");
  if (now >= found->second.expires) return absl::UnauthenticatedError("the token has expired; ask for a new one");
  return &found->second;
}

const Grant* Grants::OfCertificate(const std::vector<std::string>& names, absl::Time now) const {
  for (const std::string& name : names) {
    const auto found = certificates_.find(name);
    if (found != certificates_.end() && now < found->second.expires) return &found->second;
  }
  return nullptr;
}

}  // namespace densityd::rpc
