// The accept loop over real sockets, with a test in place of gRPC.
#include "server/rpc/acceptor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "server/rpc/acceptor_watch.h"
#include "tests/base/temp_folder.h"

namespace densityd::rpc {
namespace {

using densityd::testing::TempFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(30);

/// An acceptor whose connections are kept by the test.
class Door {
 public:
  explicit Door(ConnectionLimits limits = {}, const std::string& address = "127.0.0.1:0")
      : acceptor_(Acceptor::Open(address, limits).value()) {
    acceptor_->Start([this](int, FileDescriptor connection) {
      absl::MutexLock lock(&mutex_);
      kept_.push_back(std::move(connection));
    });
  }
  ~Door() { acceptor_->Stop(); }

  Acceptor& acceptor() { return *acceptor_; }
  /// Waits until `n` connections are kept.
  bool Keeps(size_t n) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return kept_.size() >= n; };
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), kPatience);
  }
  void DropAll() {
    absl::MutexLock lock(&mutex_);
    kept_.clear();
  }
  uint64_t Shed(ShedReason reason) const { return acceptor_->counts()->shed[static_cast<size_t>(reason)]; }

  FileDescriptor Connect() const { return ConnectTo(acceptor_->port()); }
  static FileDescriptor Socket() { return FileDescriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); }
  static bool ConnectOn(const FileDescriptor& socket, int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<in_port_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    // A reset may come before connect has returned.
    return connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
           errno == ECONNRESET;
  }
  static FileDescriptor ConnectTo(int port) {
    FileDescriptor connection = Socket();
    EXPECT_TRUE(ConnectOn(connection, port));
    return connection;
  }

 private:
  std::unique_ptr<Acceptor> acceptor_;
  absl::Mutex mutex_;
  std::vector<FileDescriptor> kept_ ABSL_GUARDED_BY(mutex_);
};

/// Waits until the other end has hung up.
bool IsShed(const FileDescriptor& connection) {
  pollfd entry = {connection.get(), POLLIN, 0};
  char byte = 0;
  return poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience))) == 1 &&
         recv(connection.get(), &byte, 1, 0) <= 0;
}

TEST(Acceptor, HandsConnectionsOverAndCountsThem) {
  Door door;
  const FileDescriptor first = door.Connect();
  const FileDescriptor second = door.Connect();
  ASSERT_TRUE(door.Keeps(2));
  EXPECT_EQ(door.acceptor().counts()->accepted, 2);
  EXPECT_EQ(door.acceptor().open(), 2);
  door.DropAll();
  EXPECT_EQ(door.acceptor().open(), 0);
}

TEST(Acceptor, RefusesMoreThanOneAddressMayHave) {
  Door door({.total = 100, .per_address = 2});
  const FileDescriptor first = door.Connect();
  const FileDescriptor second = door.Connect();
  ASSERT_TRUE(door.Keeps(2));
  EXPECT_TRUE(IsShed(door.Connect()));
  EXPECT_EQ(door.Shed(ShedReason::kAddress), 1);
  door.DropAll();
  const FileDescriptor third = door.Connect();
  EXPECT_TRUE(door.Keeps(1));
}

TEST(Acceptor, RefusesMoreThanMayBeInAll) {
  Door door({.total = 2, .per_address = 100});
  const FileDescriptor first = door.Connect();
  const FileDescriptor second = door.Connect();
  ASSERT_TRUE(door.Keeps(2));
  EXPECT_TRUE(IsShed(door.Connect()));
  EXPECT_EQ(door.Shed(ShedReason::kTotal), 1);
}

TEST(Acceptor, AnswersItsProbeWhileItRunsAndNotBefore) {
  const auto waiting = Acceptor::Open("127.0.0.1:0", {}).value();
  EXPECT_EQ(waiting->Probe(absl::Milliseconds(20)).code(), absl::StatusCode::kUnavailable);
  // One that sheds answers, too.
  Door door({.total = 0, .per_address = 0});
  EXPECT_TRUE(door.acceptor().Probe(kPatience).ok());
}

TEST(Acceptor, SharesItsPortWithNobody) {
  Door door;
  const std::string address = "127.0.0.1:" + std::to_string(door.acceptor().port());
  const auto second = Acceptor::Open(address, {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--address"));
}

TEST(Acceptor, TakesNobodyAfterItsEnd) {
  Door door;
  const int port = door.acceptor().port();
  door.acceptor().Stop();
  EXPECT_FALSE(Door::ConnectOn(Door::Socket(), port));
}

TEST(Acceptor, ReplacesAUnixSocketOfADeadServerOnly) {
  const TempFolder folder;
  const std::string path = folder.Path("socket");
  const std::string address = "unix:" + path;
  {
    // Left behind: closed, but not removed.
    const auto dead = Listen(address);
    ASSERT_TRUE(dead.ok()) << dead.status();
  }
  Door door({}, address);
  // This door answers nobody, but takes the connection.
  door.acceptor().Probe(absl::Milliseconds(1)).IgnoreError();
  EXPECT_TRUE(door.Keeps(1));
  EXPECT_EQ(Listen(address).status().code(), absl::StatusCode::kUnavailable);
  door.acceptor().Stop();
  EXPECT_NE(access(path.c_str(), F_OK), 0);
  // What is no socket is nobody's to remove.
  densityd::testing::WriteFile(path, "precious");
  EXPECT_EQ(Listen(address).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(densityd::testing::ReadFile(path), "precious");
}

TEST(Listen, RefusesWhatIsNoAddress) {
  for (const char* address : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1",
                              "::1:80", "unix:", "127.0.0.1:1 "}) {
    EXPECT_EQ(Listen(address).status().code(), absl::StatusCode::kInvalidArgument) << address;
  }
}

TEST(Listen, OnANameMeansAllItsAddressesOnOnePort) {
  const auto listeners = Listen("localhost:0");
  ASSERT_TRUE(listeners.ok()) << listeners.status();
  EXPECT_NE(listeners->port, 0);
  EXPECT_GE(listeners->sockets.size(), 1);
  Door::ConnectTo(listeners->port);
}

/// In a process with few descriptors: all are taken, connections are shed, and all is well when some come back.
int SurviveWithoutDescriptors() {
  const rlimit few = {64, 64};
  if (setrlimit(RLIMIT_NOFILE, &few) != 0) return 10;
  Door door;
  std::vector<FileDescriptor> clients;
  for (int i = 0; i < 10; ++i) clients.push_back(Door::Socket());
  std::vector<FileDescriptor> taken;
  while (true) {
    FileDescriptor copy(dup(STDERR_FILENO));
    if (!copy.valid()) break;
    taken.push_back(std::move(copy));
  }
  for (const FileDescriptor& client : clients) {
    if (!Door::ConnectOn(client, door.acceptor().port()) || !IsShed(client)) return 11;
  }
  if (door.Shed(ShedReason::kDescriptors) != clients.size()) return 12;
  taken.clear();
  clients.clear();
  const FileDescriptor client = Door::ConnectTo(door.acceptor().port());
  return door.Keeps(1) ? 0 : 13;
}

/// The last descriptors are never given to connections.
int KeepDescriptorsForOthers() {
  const rlimit few = {64, 64};
  if (setrlimit(RLIMIT_NOFILE, &few) != 0) return 10;
  Door door;
  std::vector<FileDescriptor> clients;
  // In the lower half of the table, so that accepted ones come to the upper.
  for (int i = 0; i < 20; ++i) clients.push_back(Door::Socket());
  for (FileDescriptor copy(dup(STDERR_FILENO)); copy.valid() && copy.get() < 47;
       copy = FileDescriptor(dup(STDERR_FILENO))) {
    copy.Release();
  }
  for (const FileDescriptor& client : clients) {
    if (!Door::ConnectOn(client, door.acceptor().port())) return 11;
  }
  if (!IsShed(clients.back()) || door.Shed(ShedReason::kDescriptors) == 0) return 12;
  return FileDescriptor(dup(STDERR_FILENO)).valid() ? 0 : 13;
}

TEST(AcceptorDeathTest, OutlivesTheLackOfDescriptors) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(_exit(SurviveWithoutDescriptors()), ::testing::ExitedWithCode(0), "");
}

TEST(AcceptorDeathTest, KeepsDescriptorsForOthers) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(_exit(KeepDescriptorsForOthers()), ::testing::ExitedWithCode(0), "");
}

TEST(AcceptorWatch, TellsOfTwoFailuresInARowAndOfTheEnd) {
  std::vector<bool> script = {true, false, true, false, false, false, true, true};
  size_t step = 0;
  absl::Mutex mutex;
  std::vector<bool> told;
  AcceptorWatch watch(
      [&] {
        const bool ok = step >= script.size() || script[step];
        ++step;
        return ok ? absl::OkStatus() : absl::UnavailableError("no answer");
      },
      absl::ZeroDuration(),
      [&](bool reachable) {
        absl::MutexLock lock(&mutex);
        told.push_back(reachable);
      });
  absl::MutexLock lock(&mutex);
  const auto both = [&] { return told.size() >= 2; };
  ASSERT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&both), kPatience));
  EXPECT_THAT(told, ElementsAre(false, true));
}

}  // namespace
}  // namespace densityd::rpc
