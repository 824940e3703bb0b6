// The file that says who may do what (--auth-file; docs/operations.md, "Who may do what").
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/serving/client_quota.h"

namespace densityd::rpc {

/// What somebody may do with models.
enum class Right { kInfer, kTrain, kAdmin, kMetrics };
inline constexpr int kRights = 4;

/// "infer", "train", "admin", "metrics".
const char* RightName(Right right);

/// Somebody and what he may do. The default may do nothing.
struct Grant {
  std::string name;
  std::string token_id;      ///< set for a token
  std::string token_digest;  ///< its SHA-256
  std::string certificate;   ///< set for a client certificate: a common name, DNS name or URI in it
  uint32_t rights = 0;       ///< bit 1 << Right
  std::vector<std::string> models;
  absl::Time expires = absl::InfiniteFuture();
  bool always_batch = false;                    ///< its rows have the priority batch, whatever it asks for
  std::optional<uint64_t> max_rows_per_second;  ///< unset: as for those without one; 0: no limit
  std::optional<uint64_t> max_calls;            ///< in flight; likewise

  /// The account of all grants of this name; null until they are in use.
  std::shared_ptr<serving::ClientQuota> quota;

  bool Has(Right right) const { return (rights >> static_cast<int>(right) & 1) != 0; }
  /// Whether one of the patterns, in which * stands for any characters, is the model's name.
  bool Covers(std::string_view model) const;
  /// Whether that is so for every model.
  bool CoversAll() const;
};

/// All grants of a file. Immutable.
class Grants {
 public:
  /// One grant a line, words of KEY=VALUE between blanks; # begins a comment:
  ///   name=ci token=<id>:<sha256> rights=infer,train models=power*,gas expires=2027-01-31
  ///   name=dashboard certificate=dash.example.org rights=metrics
  ///   name=batch token=<id>:<sha256> rights=infer priority=batch max_calls=8
  /// `models` is * where it is absent; `expires` is the first day (UTC) on which it no longer holds. Lines of one name
  /// share its quota, and must say the same of it. INVALID_ARGUMENT naming `file` and line.
  static absl::StatusOr<Grants> Parse(std::string_view text, std::string_view file);

  /// The grant of a token; UNAUTHENTICATED without saying what is wrong with it, except for a token that was valid and
  /// has expired. Takes the same time whether a token is unknown or wrong.
  absl::StatusOr<const Grant*> OfToken(std::string_view token, absl::Time now) const;
  /// The grant of the first of a certificate's names that has one; null where none has.
  const Grant* OfCertificate(const std::vector<std::string>& names, absl::Time now) const;

  /// Calls `visit` with each grant; before the grants are shared.
  void ForEach(absl::FunctionRef<void(Grant&)> visit);

  size_t size() const { return tokens_.size() + certificates_.size(); }

 private:
  std::map<std::string, Grant, std::less<>> tokens_;        ///< by id
  std::map<std::string, Grant, std::less<>> certificates_;  ///< by name in the certificate
};

}  // namespace densityd::rpc
