// Connections: several servers behind one name, and servers that have fallen silent.
#include "client/lib/channel.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "densityd/client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace densityd {
namespace {

absl::Status Call(const Client& client) {
  const std::vector<float> row = {1};
  return client.LogProb("power", {row, 1}).status();
}

TEST(BalanceTest, ServersBehindOneNameShareTheCallsAndOneThatGoesIsGoneRound) {
  std::array<std::atomic<int>, 2> calls = {};
  std::array<std::unique_ptr<FakeServer>, 2> servers;
  for (size_t i = 0; i < servers.size(); ++i) {
    servers[i] = std::make_unique<FakeServer>();
    servers[i]->estimator.log_prob = [&calls, i](grpc::ServerContext&, const v1::LogProbRequest&,
                                                 v1::LogProbResponse& response) {
      ++calls[i];
      response.mutable_log_prob()->add_values(0);
      return grpc::Status::OK;
    };
  }
  ClientOptions options = servers[0]->options();
  // As a name with two addresses resolves.
  options.address = absl::StrCat("ipv4:", servers[0]->address(), ",", servers[1]->address());
  const Client client = Client::Connect(options).value();
  // The first calls go to whoever is connected first.
  while (calls[0] == 0 || calls[1] == 0) ASSERT_TRUE(Call(client).ok());
  const int before = calls[0] - calls[1];
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(Call(client).ok());
  EXPECT_NEAR(calls[0] - calls[1], before, 1) << "each gets every second one";

  servers[0].reset();
  const int left = calls[1];
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Call(client).ok());
  EXPECT_EQ(calls[1], left + 20);
}

/// Speaks enough HTTP/2 to be taken for a server, and then says nothing more, not even to pings.
class SilentServer {
 public:
  SilentServer() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (bind(listener_, generic, size) != 0 || listen(listener_, 8) != 0 ||
        getsockname(listener_, generic, &size) != 0) {
      ADD_FAILURE() << "cannot listen";
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~SilentServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  void Serve() const {
    for (int peer = 0; (peer = accept(listener_, nullptr, nullptr)) >= 0; close(peer)) {
      const char settings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
      send(peer, settings, sizeof(settings), MSG_NOSIGNAL);
      // Until the client hangs up.
      for (char bytes[4096]; recv(peer, bytes, sizeof(bytes), 0) > 0;) {
      }
    }
  }

  const int listener_;
  int port_ = 0;
  std::thread thread_;
};

TEST(KeepaliveTest, AConnectionThatDoesNotAnswerAPingIsGivenUp) {
  const SilentServer server;
  ClientOptions options;
  options.address = server.address();
  options.timeout = absl::Minutes(2);
  options.retry.max_attempts = 1;
  options.keepalive = absl::Milliseconds(100);
  options.keepalive_timeout = absl::Milliseconds(100);
  const Client client = Client::Connect(options).value();
  const absl::Time start = absl::Now();
  const absl::Status status = Call(client);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_LT(absl::Now() - start, absl::Minutes(1)) << "the call's own time is twice as long";
}

}  // namespace
}  // namespace densityd
