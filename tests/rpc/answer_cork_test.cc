// Which answers are held back on a connection, and that nothing stays held back.
#include "server/rpc/answer_cork.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <string>

#include "absl/strings/numbers.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "server/base/posix.h"

namespace densityd::rpc {
namespace {

sockaddr_storage Loopback(int family, uint16_t port) {
  sockaddr_storage address = {};
  address.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address);
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    v4.sin_port = htons(port);
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    v6.sin6_addr = in6addr_loopback;
    v6.sin6_port = htons(port);
  }
  return address;
}

/// Two ends of a TCP connection.
class Connection {
 public:
  explicit Connection(ConnectionTable& table) {
    const FileDescriptor listener(socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_storage address = Loopback(AF_INET, 0);
    EXPECT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sockaddr_in)), 0);
    EXPECT_EQ(listen(listener.get(), 1), 0);
    socklen_t length = sizeof(address);
    getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length);
    client_ = FileDescriptor(socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(connect(client_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    sockaddr_storage peer = {};
    length = sizeof(peer);
    server_ = FileDescriptor(accept(listener.get(), reinterpret_cast<sockaddr*>(&peer), &length));
    EXPECT_EQ(table.Admit(server_.get(), peer), ConnectionTable::Verdict::kAdmitted);
    key_ = ConnectionTable::KeyOf(ConnectionTable::NameOf(peer));
  }

  uint64_t key() const { return key_; }
  bool IsCorked() const {
    int on = -1;
    socklen_t length = sizeof(on);
    EXPECT_EQ(getsockopt(server_.get(), IPPROTO_TCP, TCP_CORK, &on, &length), 0);
    return on == 1;
  }
  /// What the client reads: 0 at the end of the connection, -1 and errno where it was reset.
  ssize_t ClientReads() const {
    char byte = 0;
    return recv(client_.get(), &byte, 1, MSG_DONTWAIT);
  }
  ssize_t ServerReads() const {
    char bytes[8];
    return recv(server_.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
  }
  void ClientSends(const std::string& text) const {
    EXPECT_EQ(send(client_.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  }
  void Close() { server_ = FileDescriptor(); }

 private:
  FileDescriptor client_;
  FileDescriptor server_;
  uint64_t key_ = 0;
};

class AnswerCorkTest : public ::testing::Test {
 protected:
  ConnectionTable table_{ConnectionLimits()};
  AnswerCork cork_{table_};
};

TEST_F(AnswerCorkTest, TheFirstAnswerLeavesAtOnceAndTheOthersTogether) {
  Connection busy(table_);
  Connection idle(table_);
  for (int turn = 0; turn < 3; ++turn) {
    {
      const AnswerCork::Turn corked(cork_);
      AnswerCork::BeforeAnswer(busy.key());
      AnswerCork::BeforeAnswer(idle.key());
      EXPECT_FALSE(busy.IsCorked());
      for (int i = 0; i < 20; ++i) {
        AnswerCork::BeforeAnswer(busy.key());
        EXPECT_TRUE(busy.IsCorked()) << i;
      }
      EXPECT_FALSE(idle.IsCorked());
    }
    EXPECT_FALSE(busy.IsCorked());
  }
}

TEST_F(AnswerCorkTest, OutsideATurnNothingIsHeldBack) {
  Connection connection(table_);
  for (int i = 0; i < 3; ++i) AnswerCork::BeforeAnswer(connection.key());
  EXPECT_FALSE(connection.IsCorked());
}

TEST_F(AnswerCorkTest, ConnectionsThatEndedOrAreUnknownAreLeftAlone) {
  Connection ended(table_);
  {
    const AnswerCork::Turn corked(cork_);
    for (int i = 0; i < 2; ++i) AnswerCork::BeforeAnswer(ended.key());
  }
  ended.Close();
  const Connection next(table_);  // Takes the descriptor.
  const AnswerCork::Turn corked(cork_);
  for (int i = 0; i < 2; ++i) AnswerCork::BeforeAnswer(ended.key());
  for (int i = 0; i < 2; ++i) AnswerCork::BeforeAnswer(ended.key() + 1);
  EXPECT_FALSE(next.IsCorked());
}

TEST_F(AnswerCorkTest, AConnectionFromTheSamePortIsFoundWhenTheFirstHasEnded) {
  Connection first(table_);
  ASSERT_TRUE(table_.Find(first.key()).IsOpen());
  first.Close();
  EXPECT_FALSE(table_.Find(first.key()).IsOpen());
  EXPECT_EQ(table_.Open(), 0u);
  EXPECT_EQ(table_.Find(first.key()).cookie, 0u);
}

/// What gRPC calls the peer of a call over `host`.
std::string PeerOverGrpc(const std::string& host) {
  grpc::AsyncGenericService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(host + ":0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterAsyncGenericService(&service);
  const auto queue = builder.AddCompletionQueue();
  const auto server = builder.BuildAndStart();
  std::string peer;
  {
    grpc::GenericServerContext context;
    grpc::GenericServerAsyncReaderWriter stream(&context);
    service.RequestCall(&context, &stream, queue.get(), queue.get(), &context);
    grpc::CompletionQueue answers;
    grpc::ClientContext call;
    grpc::GenericStub stub(grpc::CreateChannel(host + ":" + std::to_string(port), grpc::InsecureChannelCredentials()));
    const auto reader = stub.PrepareUnaryCall(&call, "/any/Method", grpc::ByteBuffer(), &answers);
    reader->StartCall();
    grpc::ByteBuffer answer;
    grpc::Status status;
    reader->Finish(&answer, &status, &status);
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue->Next(&tag, &ok) && ok);
    peer = context.peer();
    stream.Finish(grpc::Status::CANCELLED, &stream);
    EXPECT_TRUE(queue->Next(&tag, &ok));
    EXPECT_TRUE(answers.Next(&tag, &ok));
    answers.Shutdown();
  }
  server->Shutdown();
  queue->Shutdown();
  return peer;
}

TEST(ConnectionNames, AreThoseOfGrpc) {
  for (const auto& [host, family] : {std::pair("127.0.0.1", AF_INET), std::pair("[::1]", AF_INET6)}) {
    const FileDescriptor probe(socket(family, SOCK_STREAM, 0));
    sockaddr_storage any = Loopback(family, 0);
    const socklen_t length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    if (bind(probe.get(), reinterpret_cast<sockaddr*>(&any), length) != 0) continue;  // no IPv6 here
    const std::string peer = PeerOverGrpc(host);
    int port = 0;
    ASSERT_TRUE(absl::SimpleAtoi(peer.substr(peer.rfind(':') + 1), &port)) << peer;
    EXPECT_EQ(ConnectionTable::NameOf(Loopback(family, static_cast<uint16_t>(port))), peer);
  }
}

TEST(ConnectionTableTest, HangingUpResetsTheConnectionAndDropsWhatWasNotRead) {
  ConnectionTable table{ConnectionLimits()};
  const Connection other(table);
  const Connection flood(table);
  flood.ClientSends("much");
  other.ClientSends("little");
  EXPECT_TRUE(table.HangUp(flood.key()));
  EXPECT_EQ(flood.ServerReads(), -1);
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_EQ(flood.ClientReads(), -1);
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_EQ(other.ServerReads(), 6);
}

TEST(ConnectionTableTest, WhatIsClosedIsNotHungUpOn) {
  ConnectionTable table{ConnectionLimits()};
  Connection connection(table);
  connection.Close();
  // The descriptor stands for another connection, which is not in the table.
  ConnectionTable others{ConnectionLimits()};
  const Connection next(others);
  EXPECT_FALSE(table.HangUp(connection.key()));
  EXPECT_FALSE(table.HangUp(1));
  next.ClientSends("text");
  EXPECT_EQ(next.ServerReads(), 4);
}

}  // namespace
}  // namespace densityd::rpc
