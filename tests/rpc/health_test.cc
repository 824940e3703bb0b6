// grpc.health.v1, reflection and what is no request at all, spoken byte by byte.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/byte_buffer.h"
#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using ::testing::HasSubstr;

constexpr char kCheck[] = "/grpc.health.v1.Health/Check";
constexpr char kWatch[] = "/grpc.health.v1.Health/Watch";
constexpr char kReflection[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// Values of grpc.health.v1.HealthCheckResponse.ServingStatus.
enum Serving { kUnknown = 0, kServing = 1, kNotServing = 2, kServiceUnknown = 3 };

grpc::ByteBuffer Message(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

std::string Bytes(const grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  if (!buffer.Valid() || !buffer.DumpToSingleSlice(&slice).ok()) return "";
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

/// HealthCheckRequest { string service = 1; }
grpc::ByteBuffer HealthRequest(const std::string& service) {
  return Message(std::string("\x0a") + static_cast<char>(service.size()) + service);
}

/// HealthCheckResponse { ServingStatus status = 1; }
Serving StatusOf(const grpc::ByteBuffer& response) {
  const std::string bytes = Bytes(response);
  return bytes.size() == 2 && bytes[0] == 8 ? static_cast<Serving>(bytes[1]) : kUnknown;
}

/// A stream of messages, one step at a time.
class Stream {
 public:
  Stream(const std::shared_ptr<grpc::Channel>& channel, const std::string& method, const grpc::ByteBuffer& request)
      : stub_(channel), context_(Context()), stream_(stub_.PrepareCall(context_.get(), method, &queue_)) {
    stream_->StartCall(this);
    Step();
    stream_->Write(request, this);
    Step();
  }
  ~Stream() {
    context_->TryCancel();
    grpc::Status status;
    stream_->Finish(&status, this);
    Step();
  }

  /// The next message; not valid at the end.
  grpc::ByteBuffer Read() {
    grpc::ByteBuffer message;
    stream_->Read(&message, this);
    return Step() ? message : grpc::ByteBuffer();
  }

 private:
  bool Step() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::GenericStub stub_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
};

/// A call with one message each way.
grpc::Status CallUnary(TestServer& server, const char* method, const grpc::ByteBuffer& request,
                       grpc::ByteBuffer* response) {
  grpc::GenericStub stub(server.channel());
  grpc::CompletionQueue queue;
  const auto context = Context();
  const auto call = stub.PrepareUnaryCall(context.get(), method, request, &queue);
  call->StartCall();
  grpc::Status status;
  call->Finish(response, &status, &status);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  return status;
}

class HealthTest : public ::testing::Test {
 protected:
  /// What Check answers; kServiceUnknown for NOT_FOUND.
  Serving Check(const std::string& service) {
    grpc::ByteBuffer response;
    const grpc::Status status = CallUnary(server_, kCheck, HealthRequest(service), &response);
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) return kServiceUnknown;
    return status.ok() ? StatusOf(response) : kUnknown;
  }

  void Unload(const std::string& model) {
    density::v1::UnloadModelRequest request;
    request.set_model(model);
    density::v1::VersionInfo info;
    ASSERT_TRUE(server_.registry().Unload(Context().get(), request, &info).ok());
  }

  void Load(const std::string& model) {
    density::v1::LoadModelRequest request;
    request.set_model(model);
    density::v1::VersionInfo info;
    ASSERT_TRUE(server_.registry().Load(Context().get(), request, &info).ok());
  }

  TestServer server_;
};

TEST_F(HealthTest, OfTheServerAndOfEachModel) {
  EXPECT_EQ(Check(""), kServing);
  EXPECT_EQ(Check("power"), kServiceUnknown);
  server_.Publish("power", 1);
  EXPECT_EQ(Check("power"), kServing);
  Unload("power");
  EXPECT_EQ(Check("power"), kNotServing);
  Load("power");
  EXPECT_EQ(Check("power"), kServing);
  EXPECT_EQ(Check(""), kServing);
}

TEST_F(HealthTest, OfAModelIsThatOfItsLatestVersion) {
  server_.Publish("power", 1);
  server_.Publish("power", 1);
  Unload("power@1");
  EXPECT_EQ(Check("power"), kServing);
  Load("power@1");
  Unload("power@2");
  EXPECT_EQ(Check("power"), kNotServing);
}

TEST_F(HealthTest, WatchTellsEveryTransition) {
  server_.Publish("power", 1);
  Stream watch(server_.channel(), kWatch, HealthRequest("power"));
  EXPECT_EQ(StatusOf(watch.Read()), kServing);
  Unload("power");
  EXPECT_EQ(StatusOf(watch.Read()), kNotServing);
  Load("power");
  EXPECT_EQ(StatusOf(watch.Read()), kServing);
}

TEST_F(HealthTest, OfAServerThatStopsIsNotServing) {
  Stream watch(server_.channel(), kWatch, HealthRequest(""));
  EXPECT_EQ(StatusOf(watch.Read()), kServing);
  server_.BeginLameDuck();
  EXPECT_EQ(StatusOf(watch.Read()), kNotServing);
  EXPECT_EQ(Check(""), kNotServing);
  // A lame duck still answers.
  server_.Sync();
}

TEST_F(HealthTest, WatchesEndWhenTheServerStops) {
  Stream watch(server_.channel(), kWatch, HealthRequest(""));
  EXPECT_EQ(StatusOf(watch.Read()), kServing);
  const absl::Time begin = absl::Now();
  server_.Stop(absl::Seconds(30));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(20));
  EXPECT_EQ(StatusOf(watch.Read()), kNotServing);
  EXPECT_FALSE(watch.Read().Valid());
}

TEST_F(HealthTest, BytesThatAreNoRequestAreRefused) {
  const std::string too_long = std::string("\x0a\xd0\x0f") + std::string(2000, 'a');
  for (const std::string& bytes : {std::string("\xff"), std::string("\x0a\x7f"), too_long}) {
    grpc::ByteBuffer response;
    EXPECT_EQ(CallUnary(server_, kCheck, Message(bytes), &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    Stream watch(server_.channel(), kWatch, Message(bytes));
    EXPECT_FALSE(watch.Read().Valid());
  }
}

TEST(ControlCalls, BytesThatAreNoRequestAreRefused) {
  TestServer server;
  grpc::ByteBuffer response;
  for (const char* method :
       {"/density.v1.ModelRegistry/Get", "/density.v1.DensityEstimator/Train", "/density.v1.Trainings/Watch",
        "/density.v1.Datasets/Upload", "/density.v1.ModelRegistry/Export", "/density.v1.ModelRegistry/Import"}) {
    const grpc::Status status = CallUnary(server, method, Message("\xff"), &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method << ": " << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr("the message is no density.v1.")) << method;
  }
  const grpc::Status unknown = CallUnary(server, "/density.v1.ModelRegistry/Guess", Message(""), &response);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST(Reflection, ListsEveryService) {
  TestServer server;
  // ServerReflectionRequest { string list_services = 7; }
  Stream stream(server.channel(), kReflection, Message(std::string("\x3a\x01*")));
  const std::string answer = Bytes(stream.Read());
  for (const char* service : {"density.v1.DensityEstimator", "density.v1.Trainings", "density.v1.Datasets",
                              "density.v1.ModelRegistry", "grpc.health.v1.Health"}) {
    EXPECT_THAT(answer, HasSubstr(service));
  }
}

}  // namespace
}  // namespace densityd::rpc
