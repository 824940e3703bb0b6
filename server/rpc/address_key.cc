#include "server/rpc/address_key.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "server/base/strings.h"

namespace densityd::rpc {
namespace {

constexpr size_t kPrefixBytes = 8;

std::string KeyOf(const in_addr& v4) { return {reinterpret_cast<const char*>(&v4), sizeof(v4)}; }

std::string KeyOf(const in6_addr& v6) {
  const char* bytes = reinterpret_cast<const char*>(&v6);
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return {bytes + sizeof(v6) - sizeof(in_addr), sizeof(in_addr)};
  return {bytes, kPrefixBytes};
}

}  // namespace

std::string AddressKey(const sockaddr_storage& peer) {
  if (peer.ss_family == AF_INET) return KeyOf(reinterpret_cast<const sockaddr_in&>(peer).sin_addr);
  if (peer.ss_family == AF_INET6) return KeyOf(reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr);
  return "";
}

std::string AddressKey(std::string_view peer) {
  absl::string_view text = ToAbsl(peer.substr(0, peer.rfind(':')));
  if (absl::ConsumePrefix(&text, "ipv4:")) {
    in_addr v4 = {};
    return inet_pton(AF_INET, std::string(text).c_str(), &v4) == 1 ? KeyOf(v4) : "";
  }
  if (!absl::ConsumePrefix(&text, "ipv6:")) return "";
  if (!absl::ConsumePrefix(&text, "%5B")) absl::ConsumePrefix(&text, "[");
  // Up to the closing bracket, or the zone before it ("%25eth0").
  text = text.substr(0, text.find_first_of("%]"));
  in6_addr v6 = {};
  return inet_pton(AF_INET6, std::string(text).c_str(), &v6) == 1 ? KeyOf(v6) : "";
}

}  // namespace densityd::rpc
