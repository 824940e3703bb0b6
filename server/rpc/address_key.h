// What counts as one address: one of IPv4, or one /64 of IPv6, which is what a single customer is given.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>

namespace densityd::rpc {

/// The bytes that addresses of one key share; empty for peers without an address (unix sockets).
std::string AddressKey(const sockaddr_storage& peer);
/// The same of a peer as gRPC writes it: "ipv4:10.0.0.7:4711", "ipv6:%5B2001:db8::7%5D:4711".
std::string AddressKey(std::string_view peer);

}  // namespace densityd::rpc
