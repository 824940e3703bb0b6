// How many calls of each connection gRPC has in hand.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace densityd::rpc {

struct ConnectionCalls {
  std::string peer;  ///< as gRPC names it, see ConnectionTable::KeyOf
  /// Calls that have begun and that the server has not done with: those that their caller has given up, and that wait
  /// to be looked at, among them. A caller who keeps to the server's limit of calls at once can have more of these than
  /// that, but not for long.
  int64_t calls = 0;
};

/// Of all servers of the process, by gRPC's own count (channelz). Takes some microseconds for each connection.
/// Thread-safe.
std::vector<ConnectionCalls> CallsOfConnections();

}  // namespace densityd::rpc
