// Export, Import and ReloadFromDisk over real sockets, and what is told of paths.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "server/registry/tar.h"
#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using density::v1::VersionInfo;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class ArchiveRpcTest : public ::testing::Test {
 protected:
  ArchiveRpcTest() { server_.Publish("power", 1); }

  grpc::Status Export(const std::string& model, std::string& archive) {
    density::v1::ExportModelRequest request;
    request.set_model(model);
    const auto context = Context();
    const auto reader = server_.registry().Export(context.get(), request);
    density::v1::ExportModelResponse piece;
    while (reader->Read(&piece)) archive += piece.chunk();
    return reader->Finish();
  }
  grpc::Status Import(const std::string& archive, const std::string& name, VersionInfo& info, size_t piece = 700) {
    const auto context = Context();
    const auto writer = server_.registry().Import(context.get(), &info);
    density::v1::ImportModelRequest request;
    request.set_name(name);
    for (size_t at = 0; at < archive.size(); at += piece) {
      request.set_chunk(archive.substr(at, piece));
      if (!writer->Write(request)) break;
      request.Clear();
    }
    writer->WritesDone();
    return writer->Finish();
  }
  std::vector<std::string> Leftovers() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(server_.root() + "/tmp"))
      names.push_back(entry.path());
    return names;
  }
  std::string WeightsFile() const { return server_.root() + "/models/power/1/weights.safetensors"; }

  TestServer server_;
};

TEST_F(ArchiveRpcTest, WhatIsExportedIsImportedAndAnswers) {
  std::string archive;
  ASSERT_TRUE(Export("power@latest", archive).ok());
  VersionInfo info;
  const grpc::Status status = Import(archive, "gas", info);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(info.name(), "gas");
  EXPECT_EQ(info.version(), 1);
  EXPECT_EQ(info.state(), density::v1::READY);
  ASSERT_TRUE(Import(archive, "", info).ok());
  EXPECT_EQ(info.name(), "power");
  EXPECT_EQ(info.version(), 2);
  EXPECT_THAT(Leftovers(), IsEmpty());
}

TEST_F(ArchiveRpcTest, BadArchivesAndNamesAreRefusedAndLeaveNothing) {
  std::string archive;
  ASSERT_TRUE(Export("power", archive).ok());
  VersionInfo info;
  EXPECT_EQ(Import("", "gas", info).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Import(archive.substr(0, archive.size() / 2), "gas", info).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  for (const char* name : {"../gas", "gas@3", "GAS", "a/b"}) {
    EXPECT_EQ(Import(archive, name, info).error_code(), grpc::StatusCode::INVALID_ARGUMENT) << name;
    EXPECT_EQ(Export(name, archive).error_code(),
              std::string(name) == "gas@3" ? grpc::StatusCode::NOT_FOUND : grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_THAT(Leftovers(), IsEmpty());
}

TEST_F(ArchiveRpcTest, AnImportThatBreaksLeavesNothing) {
  std::string archive;
  ASSERT_TRUE(Export("power", archive).ok());
  VersionInfo info;
  {
    const auto context = Context();
    const auto writer = server_.registry().Import(context.get(), &info);
    density::v1::ImportModelRequest request;
    request.set_name("gas");
    request.set_chunk(archive.substr(0, archive.size() - registry::kTarBlock));
    ASSERT_TRUE(writer->Write(request));
    context->TryCancel();
    EXPECT_FALSE(writer->Finish().ok());
  }
  // Whoever stops the server waits for what it does.
  server_.Stop(absl::Seconds(30));
  EXPECT_THAT(Leftovers(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(server_.root() + "/models/gas"));
}

TEST_F(ArchiveRpcTest, ReloadFromDiskTellsWhatChanged) {
  std::filesystem::copy(server_.root() + "/models/power/1", server_.root() + "/models/power/2");
  density::v1::ReloadFromDiskResponse changes;
  ASSERT_TRUE(server_.registry().ReloadFromDisk(Context().get(), {}, &changes).ok());
  EXPECT_THAT(changes.added(), ElementsAre("power@2"));
  EXPECT_THAT(changes.moved(), ElementsAre("power@latest"));
  density::v1::ReloadFromDiskRequest request;
  request.set_model("absent");
  EXPECT_EQ(server_.registry().ReloadFromDisk(Context().get(), request, &changes).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(ArchiveRpcTest, ErrorsNameFilesBelowTheRootWithoutTheRoot) {
  densityd::testing::WriteFile(WeightsFile(), "damaged");
  std::string archive;
  const grpc::Status exported = Export("power", archive);
  EXPECT_EQ(exported.error_code(), grpc::StatusCode::DATA_LOSS);

  density::v1::UnloadModelRequest unload;
  unload.set_model("power");
  VersionInfo info;
  ASSERT_TRUE(server_.registry().Unload(Context().get(), unload, &info).ok());
  density::v1::LoadModelRequest load;
  load.set_model("power");
  const grpc::Status loaded = server_.registry().Load(Context().get(), load, &info);
  EXPECT_EQ(loaded.error_code(), grpc::StatusCode::DATA_LOSS);

  density::v1::LogProbRequest rows;
  rows.set_model("power");
  *rows.mutable_rows() = Rows(1, {0});
  density::v1::LogProbResponse answer;
  const grpc::Status asked = server_.estimator().LogProb(Context().get(), rows, &answer);
  EXPECT_EQ(asked.error_code(), grpc::StatusCode::DATA_LOSS);

  density::v1::ListModelsResponse list;
  ASSERT_TRUE(server_.registry().List(Context().get(), {}, &list).ok());
  for (const std::string& told :
       {exported.error_message(), exported.error_details(), loaded.error_message(), loaded.error_details(),
        asked.error_message(), asked.error_details(), list.models(0).versions(0).error()}) {
    EXPECT_THAT(told, HasSubstr("models/power/1/weights.safetensors"));
    EXPECT_THAT(told, Not(HasSubstr(server_.root())));
  }
}

}  // namespace
}  // namespace densityd::rpc
