// The server's own accept loop.
//
// gRPC 1.51 stops accepting for ever when a burst of connections meets the descriptor limit (CVE-2023-4785), and has no
// limit of its own on connections. Here a thread accepts, refuses what is too much, and hands the rest to gRPC.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/posix.h"
#include "server/base/seldom.h"
#include "server/rpc/connection_table.h"
#include "server/rpc/listen.h"

namespace densityd::rpc {

/// Why a connection was closed at once.
enum class ShedReason { kTotal, kAddress, kDescriptors };
inline constexpr int kShedReasons = 3;

/// What happened so far. Thread-safe.
struct ConnectionCounts {
  std::atomic<uint64_t> accepted{0};  ///< handed to gRPC
  std::array<std::atomic<uint64_t>, kShedReasons> shed{};
  std::atomic<uint64_t> flooded{0};    ///< hung up on, see FloodWatch
  std::atomic<bool> accepting{false};  ///< false: the accept loop has ended, or does not answer
};

/// Descriptors stay free for files, models and trainings: a connection whose descriptor would be among the last eighth
/// (at least 16) below the process's limit is closed at once. One spare descriptor is kept to do so even where the
/// process, or the machine, has none left. Thread-safe.
class Acceptor {
 public:
  /// Takes over `connection`, accepted from `listener`.
  using Hand = std::function<void(int listener, FileDescriptor connection)>;

  /// Listens; errors as Listen. Connections wait until Start.
  static absl::StatusOr<std::unique_ptr<Acceptor>> Open(const std::string& address, ConnectionLimits limits);
  ~Acceptor();

  /// Begins to hand connections over, on a thread of its own. Call once.
  void Start(Hand hand);
  /// Closes the sockets, so that nobody can connect any more. `hand` is not called after this has returned.
  void Stop();

  int port() const { return listeners_.port; }
  const std::shared_ptr<ConnectionCounts>& counts() const { return counts_; }
  /// Connections that are open now.
  size_t open() { return table_.Open(); }
  ConnectionTable& connections() { return table_; }

  /// Connects as anybody would and waits until the server says something or hangs up, whichever its credentials make it
  /// do. UNAVAILABLE where it does neither within `timeout`.
  absl::Status Probe(absl::Duration timeout) const;

 private:
  enum class Outcome { kGoOn, kNoMore, kPause };

  Acceptor(Listeners listeners, ConnectionLimits limits);
  void Run();
  Outcome AcceptOne(int listener);
  Outcome ShedWithSpare(int listener);
  void Shed(FileDescriptor connection, ShedReason reason);

  Listeners listeners_;
  ConnectionTable table_;
  const std::shared_ptr<ConnectionCounts> counts_ = std::make_shared<ConnectionCounts>();
  const int highest_descriptor_;  ///< of a connection that is kept
  FileDescriptor wake_;
  FileDescriptor spare_;
  Seldom complaints_;  ///< of the thread
  Hand hand_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace densityd::rpc
