#include "server/base/token.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <array>
#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/base/logging.h"
#include "server/base/sha256.h"

namespace densityd {
namespace {

constexpr std::string_view kPrefix = "densityd_";
constexpr size_t kIdBytes = 8;
constexpr size_t kSecretBytes = 32;
constexpr size_t kIdDigits = 2 * kIdBytes;
constexpr size_t kTokenBytes = kPrefix.size() + kIdDigits + 1 + 2 * kSecretBytes;

bool IsHex(std::string_view text) { return text.find_first_not_of("0123456789abcdef") == std::string_view::npos; }

}  // namespace

std::string NewToken() {
  std::array<char, kIdBytes + kSecretBytes> bytes;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size())) != 1) {
    Log(LogLevel::kError, "OpenSSL has no random numbers; no token can be made");
    std::abort();
  }
  std::string token = absl::StrCat(absl::string_view(kPrefix.data(), kPrefix.size()),
                                   absl::BytesToHexString(absl::string_view(bytes.data(), kIdBytes)), "_",
                                   absl::BytesToHexString(absl::string_view(bytes.data() + kIdBytes, kSecretBytes)));
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return token;
}

std::string_view TokenId(std::string_view token) {
  if (token.size() != kTokenBytes || token.substr(0, kPrefix.size()) != kPrefix) return {};
  const std::string_view id = token.substr(kPrefix.size(), kIdDigits);
  const std::string_view secret = token.substr(kPrefix.size() + kIdDigits + 1);
  return token[kPrefix.size() + kIdDigits] == '_' && IsHex(id) && IsHex(secret) ? id : std::string_view();
}

std::string TokenDigest(std::string_view token) { return Sha256Hex(token); }

bool EqualInConstantTime(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace densityd
