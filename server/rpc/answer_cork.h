// Answers that follow each other on one connection leave together.
//
// gRPC sends each answer by itself, and for a single row sending costs more than computing. What a worker answers after
// a tile often goes to few connections: from its second answer on, a connection is corked (tcp(7)), so that the kernel
// keeps what gRPC sends until a few answers are there, or the turn ends. The first answer leaves at once.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/rpc/connection_table.h"

namespace densityd::rpc {

/// Of one worker. Not thread-safe.
class AnswerCork {
 public:
  explicit AnswerCork(ConnectionTable& connections) : connections_(&connections) {}

  /// While one lives, the answers of this thread are counted. What they corked is open again when it ends.
  class Turn {
   public:
    explicit Turn(AnswerCork& cork);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    AnswerCork* cork_;
  };

  /// To be called before this thread answers on a connection, see ConnectionTable::KeyOf. Does nothing outside a turn.
  static void BeforeAnswer(uint64_t connection);

 private:
  struct Answers {
    uint64_t connection = 0;
    int count = 0;
    int corked = -1;  ///< the socket, while it is
  };

  void Count(uint64_t connection);
  void Open();
  /// The connection's socket; -1 where it has none that can be corked.
  int SocketOf(uint64_t connection);

  ConnectionTable* connections_;
  std::vector<Answers> answers_;  ///< of this turn
  absl::flat_hash_map<uint64_t, ConnectionTable::Socket> known_;
};

}  // namespace densityd::rpc
