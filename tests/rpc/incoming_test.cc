// Requests that are not there when their call is, and calls that are given up as soon as they are made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/generic/generic_stub.h"
#include "server/base/posix.h"
#include "tests/rpc/test_server.h"
#include "tests/serving/fakes.h"

namespace densityd::rpc {
namespace {

using density::v1::LogProbRequest;
using density::v1::LogProbResponse;
using ::testing::HasSubstr;

constexpr char kLogProb[] = "/density.v1.DensityEstimator/LogProb";

double MetricOf(TestServer& server, const std::string& name) {
  const std::string text = server.metrics().Text();
  const size_t at = text.find("\n" + name + " ");
  double value = -1;
  if (at == std::string::npos) return value;
  const size_t begin = at + name.size() + 2;
  EXPECT_TRUE(absl::SimpleAtod(text.substr(begin, text.find('\n', begin) - begin), &value));
  return value;
}

grpc::Status LogProb(TestServer& server, size_t rows) {
  LogProbRequest request;
  request.set_model("power");
  *request.mutable_rows() = Rows(1, std::vector<float>(rows));
  LogProbResponse response;
  return server.estimator().LogProb(Context().get(), request, &response);
}

/// A LogProb call whose request is sent by hand.
class ByHand {
 public:
  ByHand(TestServer& server, grpc::CompletionQueue& queue) : stub_(server.channel()), queue_(&queue) {
    context_->set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    call_ = stub_.PrepareCall(context_.get(), kLogProb, queue_);
    call_->StartCall(this);
    EXPECT_TRUE(Next());
  }

  void Send(size_t rows) {
    LogProbRequest request;
    request.set_model("power");
    *request.mutable_rows() = Rows(1, std::vector<float>(rows));
    grpc::ByteBuffer bytes;
    bool own = false;
    ASSERT_TRUE(grpc::SerializationTraits<LogProbRequest>::Serialize(request, &bytes, &own).ok());
    call_->Write(bytes, grpc::WriteOptions().set_last_message(), this);
    EXPECT_TRUE(Next());
  }

  /// Sends no request.
  void SendNothing() {
    call_->WritesDone(this);
    EXPECT_TRUE(Next());
  }

  grpc::Status Finish() {
    grpc::ByteBuffer answer;
    call_->Read(&answer, this);
    Next();
    grpc::Status status;
    call_->Finish(&status, this);
    EXPECT_TRUE(Next());
    return status;
  }

 private:
  /// Waits for the step that was begun. Steps of other calls are not under way.
  bool Next() {
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue_->Next(&tag, &ok));
    EXPECT_EQ(tag, this);
    return ok;
  }

  grpc::GenericStub stub_;
  grpc::CompletionQueue* queue_;
  std::unique_ptr<grpc::ClientContext> context_ = std::make_unique<grpc::ClientContext>();
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

TEST(Incoming, ACallWithoutItsRequestHoldsRoomForItAndNobodyUp) {
  TestServer server;
  server.Publish("power", 1);
  grpc::CompletionQueue queue;
  ByHand late(server, queue);
  server.Sync();
  EXPECT_EQ(MetricOf(server, "densityd_inflight_bytes"), 1 << 20);
  EXPECT_TRUE(LogProb(server, 10).ok());
  late.Send(3);
  EXPECT_TRUE(late.Finish().ok());
  EXPECT_EQ(server.probe().rows(), 13U);
}

TEST(Incoming, ACallThatEndsWithoutItsRequestHoldsNothing) {
  TestServer server;
  grpc::CompletionQueue queue;
  ByHand empty(server, queue);
  empty.SendNothing();
  EXPECT_FALSE(empty.Finish().ok());
  server.Sync();
  EXPECT_EQ(MetricOf(server, "densityd_inflight_bytes"), 0);
}

TEST(Incoming, WhereMemoryIsUsedUpRequestsAreRefusedUnread) {
  const serving::FakeClock clock;  // nobody becomes slow
  TestServer server({.max_queued_bytes = size_t{6} << 20, .clock = &clock});
  server.Publish("power", 1);
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<ByHand>> calls;
  for (int i = 0; i < 16; ++i) {
    calls.push_back(std::make_unique<ByHand>(server, queue));
    server.Sync();
  }
  EXPECT_EQ(MetricOf(server, "densityd_inflight_bytes"), (6 << 20) / 6 * 5);
  // It is told so before it has sent anything.
  const grpc::Status refused = ByHand(server, queue).Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << refused.error_message();
  EXPECT_THAT(refused.error_details(), HasSubstr("RetryInfo"));
  for (const auto& call : calls) {
    call->Send(1000);
    EXPECT_TRUE(call->Finish().ok());
  }
  EXPECT_TRUE(LogProb(server, 10).ok());
}

TEST(Incoming, OfManyWhoNeverSendSomeAreRefusedAndOthersNoticeNothing) {
  constexpr int kBorne = 32;
  constexpr int kTooMany = 3;
  const serving::FakeClock clock;
  TestServer server({.clock = &clock});
  server.Publish("power", 1);
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<ByHand>> silent;
  for (int i = 0; i < kBorne + kTooMany; ++i) {
    silent.push_back(std::make_unique<ByHand>(server, queue));
    server.Sync();
  }
  EXPECT_TRUE(LogProb(server, 10).ok());
  server.Sync();  // The time of a tile makes nobody slow.
  clock.Advance(absl::Seconds(1));
  for (int i = 0; i < kTooMany; ++i) {
    const grpc::Status refused = silent[i]->Finish();
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_THAT(refused.error_message(), HasSubstr("the request had not come in after 1s"));
  }
  EXPECT_TRUE(LogProb(server, 10).ok());
  for (int i = kTooMany; i < kBorne + kTooMany; ++i) {
    silent[i]->Send(1);
    EXPECT_TRUE(silent[i]->Finish().ok()) << i;
  }
}

/// Frames of HTTP/2, by hand.
class Attacker {
 public:
  explicit Attacker(int port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    headers_ = Literal(":method", "POST") + Literal(":scheme", "http") + Literal(":path", kLogProb) +
               Literal(":authority", "x") + Literal("te", "trailers") + Literal("content-type", "application/grpc");
    Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(kSettings, 0, 0, ""));
  }

  /// Opens `count` streams and resets each at once. False where the server has hung up.
  bool Reset(int count) {
    std::string bytes;
    for (int i = 0; i < count; ++i, stream_ += 2) {
      bytes += Frame(kHeaders, kEndHeaders, stream_, headers_) + Frame(kRstStream, 0, stream_, {"\0\0\0\x08", 4});
    }
    return Send(bytes);
  }

 private:
  static constexpr uint8_t kHeaders = 1, kRstStream = 3, kSettings = 4, kEndHeaders = 4;

  static std::string Literal(const std::string& name, const std::string& value) {
    return std::string(1, '\0') + static_cast<char>(name.size()) + name + static_cast<char>(value.size()) + value;
  }
  static std::string Number(uint32_t number, int bytes) {
    std::string text;
    for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(number >> (8 * i));
    return text;
  }
  static std::string Frame(uint8_t kind, uint8_t flags, uint32_t stream, const std::string& payload) {
    return Number(static_cast<uint32_t>(payload.size()), 3) + Number(kind, 1) + Number(flags, 1) + Number(stream, 4) +
           payload;
  }

  /// Reads meanwhile what the server says: gRPC reads no more of who does not.
  bool Send(const std::string& bytes) {
    std::array<char, 1 << 16> said;
    for (size_t sent = 0; sent < bytes.size();) {
      pollfd ready = {.fd = socket_.get(), .events = POLLIN | POLLOUT, .revents = 0};
      if (poll(&ready, 1, -1) < 0) return false;
      if ((ready.revents & POLLIN) != 0 && recv(socket_.get(), said.data(), said.size(), MSG_DONTWAIT) <= 0)
        return false;
      if ((ready.revents & (POLLOUT | POLLERR | POLLHUP)) == 0) continue;
      const ssize_t n = send(socket_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) continue;
      if (n <= 0) return false;
      sent += static_cast<size_t>(n);
    }
    return true;
  }

  FileDescriptor socket_;
  std::string headers_;
  uint32_t stream_ = 1;
};

TEST(Incoming, WhoGivesUpCallsFasterThanTheyCanBeDealtWithIsHungUpOn) {
  TestServer server;
  server.Publish("power", 1);
  ASSERT_TRUE(LogProb(server, 1).ok());
  Attacker attacker(server.port());
  // Between a run's beginning and its end a worker deals with none of them, so that more is left than he may have.
  bool goes_on = true;
  for (int runs = 2; goes_on; ++runs) {
    server.probe().Hold();
    std::thread other([&] { EXPECT_TRUE(LogProb(server, 1).ok()) << "others are served"; });
    server.probe().AwaitRuns(runs);
    goes_on = attacker.Reset(5000);
    server.probe().Release();
    other.join();
  }
  EXPECT_TRUE(LogProb(server, 1).ok()) << "others are still there";
  EXPECT_GE(MetricOf(server, "densityd_connections_flooded_total"), 1);
}

TEST(Incoming, WhoGivesUpManyCallsThatHeMayHaveIsNot) {
  TestServer server;
  server.Publish("power", 1);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
    grpc::CompletionQueue queue;
    std::vector<std::unique_ptr<grpc::ClientAsyncResponseReader<LogProbResponse>>> readers;
    std::vector<LogProbResponse> responses(256);
    std::vector<grpc::Status> statuses(256);
    LogProbRequest request;
    request.set_model("power");
    *request.mutable_rows() = Rows(1, {1});
    for (size_t i = 0; i < responses.size(); ++i) {
      contexts.push_back(Context());
      readers.push_back(server.estimator().AsyncLogProb(contexts.back().get(), request, &queue));
      readers.back()->Finish(&responses[i], &statuses[i], &statuses[i]);
    }
    for (const auto& context : contexts) context->TryCancel();
    server.Sync();
    for (size_t i = 0; i < responses.size(); ++i) {
      void* tag = nullptr;
      bool ok = false;
      ASSERT_TRUE(queue.Next(&tag, &ok));
      const auto& status = *static_cast<grpc::Status*>(tag);
      EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::CANCELLED) << status.error_message();
    }
  }
  EXPECT_EQ(MetricOf(server, "densityd_connections_flooded_total"), 0);
}

}  // namespace
}  // namespace densityd::rpc
