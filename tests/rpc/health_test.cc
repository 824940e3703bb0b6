// grpc.health.v1 and reflection, spoken byte by byte: their protos are not among the build's dependencies.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

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

class HealthTest : public ::testing::Test {
 protected:
  /// What Check answers; kServiceUnknown for NOT_FOUND.
  Serving Check(const std::string& service) {
    grpc::GenericStub stub(server_.channel());
    grpc::CompletionQueue queue;
    const auto context = Context();
    const auto call = stub.PrepareUnaryCall(context.get(), kCheck, HealthRequest(service), &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, this);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
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
