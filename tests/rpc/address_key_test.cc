#include "server/rpc/address_key.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <string>

namespace densityd::rpc {
namespace {

std::string KeyOfV6(const char* address) {
  sockaddr_storage peer = {};
  auto& v6 = reinterpret_cast<sockaddr_in6&>(peer);
  v6.sin6_family = AF_INET6;
  EXPECT_EQ(inet_pton(AF_INET6, address, &v6.sin6_addr), 1) << address;
  return AddressKey(peer);
}

TEST(AddressKey, IsTheWholeAddressOfV4WhateverThePort) {
  EXPECT_EQ(AddressKey("ipv4:10.0.0.7:4711"), std::string("\x0a\0\0\x07", 4));
  EXPECT_EQ(AddressKey("ipv4:10.0.0.7:4711"), AddressKey("ipv4:10.0.0.7:1"));
  EXPECT_NE(AddressKey("ipv4:10.0.0.7:1"), AddressKey("ipv4:10.0.0.8:1"));
}

TEST(AddressKey, IsTheFirstHalfOfV6) {
  const std::string key = AddressKey("ipv6:%5B2001:db8:1:2::7%5D:4711");
  EXPECT_EQ(key, KeyOfV6("2001:db8:1:2:ffff::1"));
  EXPECT_EQ(key, AddressKey("ipv6:[2001:db8:1:2::7]:4711"));
  EXPECT_EQ(AddressKey("ipv6:%5Bfe80::1%25eth0%5D:4711"), KeyOfV6("fe80::2"));
  EXPECT_NE(key, KeyOfV6("2001:db8:1:3::7"));
}

TEST(AddressKey, IsThatOfV4WhereV6OnlyWrapsIt) {
  EXPECT_EQ(KeyOfV6("::ffff:10.0.0.7"), AddressKey("ipv4:10.0.0.7:4711"));
  EXPECT_EQ(AddressKey("ipv6:%5B::ffff:10.0.0.7%5D:1"), AddressKey("ipv4:10.0.0.7:4711"));
}

TEST(AddressKey, IsEmptyForPeersWithoutAddress) {
  for (const char* peer : {"", "unix:", "unix:/run/densityd", "ipv4:", "ipv4:x:1", "ipv6:%5B%5D:1", "unknown"}) {
    EXPECT_EQ(AddressKey(peer), "") << peer;
  }
}

}  // namespace
}  // namespace densityd::rpc
