// Datasets: uploads that end, and uploads that do not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using density::v1::Dataset;
using density::v1::UploadDatasetRequest;
using ::testing::HasSubstr;

/// Files below `folder`.
int CountFiles(const std::string& folder) {
  int files = 0;
  if (!std::filesystem::exists(folder)) return 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) files += entry.is_regular_file();
  return files;
}

class DatasetsRpcTest : public ::testing::Test {
 protected:
  grpc::Status Upload(const std::vector<UploadDatasetRequest>& chunks) {
    const auto context = Context();
    const auto writer = server_.datasets().Upload(context.get(), &dataset_);
    for (const UploadDatasetRequest& chunk : chunks) {
      if (!writer->Write(chunk)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }

  static UploadDatasetRequest Chunk(const density::v1::Matrix& rows) {
    UploadDatasetRequest chunk;
    *chunk.mutable_rows() = rows;
    return chunk;
  }

  /// Nothing of a dataset is on disk, seen or unseen.
  void ExpectNothing() {
    density::v1::ListDatasetsResponse list;
    ASSERT_TRUE(server_.datasets().List(Context().get(), {}, &list).ok());
    EXPECT_EQ(list.datasets_size(), 0);
    EXPECT_EQ(CountFiles(server_.root() + "/datasets"), 0);
    EXPECT_EQ(CountFiles(server_.root() + "/tmp"), 0);
  }

  TestServer server_{{.max_dataset_bytes = 4096}};
  Dataset dataset_;
};

TEST(UploadLimitTest, MoreThanSoManyAreToldToComeBack) {
  TestServer server({.max_uploads = 1});
  UploadDatasetRequest chunk;
  *chunk.mutable_rows() = Rows(2, {1, 2, 3, 4});
  const auto upload = [&](grpc::ClientContext& context, Dataset& dataset) {
    auto writer = server.datasets().Upload(&context, &dataset);
    writer->Write(chunk);
    return writer;
  };
  Dataset first;
  Dataset second;
  const auto first_context = Context();
  const auto second_context = Context();
  const auto running = upload(*first_context, first);
  server.Sync();
  const grpc::Status refused = upload(*second_context, second)->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("1 uploads run"));
  EXPECT_THAT(refused.error_details(), HasSubstr("RetryInfo"));
  running->WritesDone();
  EXPECT_TRUE(running->Finish().ok());
  // Its place is free when the server has heard that its answer went out.
  grpc::Status status;
  do {
    const auto context = Context();
    const auto third = upload(*context, second);
    third->WritesDone();
    status = third->Finish();
  } while (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(DatasetsRpcTest, AnUploadIsThereWithItsShapeAndNames) {
  UploadDatasetRequest first = Chunk(Rows(2, {1, 2, 3, 4}));
  first.set_display_name("meter");
  first.add_columns("volt");
  first.add_columns("ampere");
  const grpc::Status status = Upload({first, Chunk(Rows(2, {5, 6}))});
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(dataset_.rows(), 3u);
  EXPECT_EQ(dataset_.display_name(), "meter");
  EXPECT_THAT(dataset_.columns(), ::testing::ElementsAre("volt", "ampere"));

  density::v1::GetDatasetRequest get;
  get.set_id(dataset_.id());
  Dataset again;
  ASSERT_TRUE(server_.datasets().Get(Context().get(), get, &again).ok());
  EXPECT_EQ(again.SerializeAsString(), dataset_.SerializeAsString());

  density::v1::DeleteDatasetRequest remove;
  remove.set_id(dataset_.id());
  density::v1::DeleteDatasetResponse removed;
  ASSERT_TRUE(server_.datasets().Delete(Context().get(), remove, &removed).ok());
  EXPECT_EQ(server_.datasets().Delete(Context().get(), remove, &removed).error_code(), grpc::StatusCode::NOT_FOUND);
  ExpectNothing();
}

TEST_F(DatasetsRpcTest, NumbersMayBeMissingInTheColumnsThatAreNamed) {
  UploadDatasetRequest first = Chunk(Rows(2, {1, NAN, 3, 4}));
  first.add_columns("volt");
  first.add_columns("humidity");
  first.add_missing_columns("humidity");
  grpc::Status status = Upload({first, Chunk(Rows(2, {5, NAN}))});
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(dataset_.rows(), 3u);
  EXPECT_THAT(dataset_.missing_columns(), ::testing::ElementsAre("humidity"));

  status = Upload({first, Chunk(Rows(2, {NAN, 6}))});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("row 2: column 0 holds nan"));
  status = Upload({first, Chunk(Rows(2, {1, INFINITY}))});
  EXPECT_THAT(status.error_message(), HasSubstr("row 2: column 1 holds inf"));
  status = Upload({first, first});
  EXPECT_THAT(status.error_message(), HasSubstr("first message only"));
  first.set_missing_columns(0, "rain");
  status = Upload({first});
  EXPECT_THAT(status.error_message(), HasSubstr("missing_columns[0]: \"rain\" is no column"));
}

TEST_F(DatasetsRpcTest, AnUploadThatBreaksLeavesNothing) {
  {
    const auto context = Context();
    const auto writer = server_.datasets().Upload(context.get(), &dataset_);
    ASSERT_TRUE(writer->Write(Chunk(Rows(1, {1, 2, 3}))));
    server_.Sync();
    context->TryCancel();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  // The server ends the call on threads of its own; stopping waits for them.
  server_.Stop(absl::Seconds(30));
  EXPECT_EQ(CountFiles(server_.root() + "/datasets"), 0);
  EXPECT_EQ(CountFiles(server_.root() + "/tmp"), 0);
}

TEST_F(DatasetsRpcTest, ABadChunkIsNamedAndNothingRemains) {
  const struct {
    std::vector<UploadDatasetRequest> chunks;
    const char* message;
  } cases[] = {
      {{}, "before its first message"},
      {{UploadDatasetRequest()}, "message 0: rows: is required"},
      {{Chunk(Rows(2, {1, 2})), Chunk(Rows(3, {1, 2, 3}))}, "col"},
      {{Chunk(Rows(2, {1, 2, 3, 4})), Chunk(Rows(2, {1, NAN}))}, "row 2"},
  };
  for (const auto& bad : cases) {
    const grpc::Status status = Upload(bad.chunks);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << bad.message;
    EXPECT_THAT(status.error_message(), HasSubstr(bad.message));
    ExpectNothing();
  }
}

TEST_F(DatasetsRpcTest, NamesBelongInTheFirstMessage) {
  UploadDatasetRequest second = Chunk(Rows(1, {2}));
  second.add_columns("late");
  const grpc::Status status = Upload({Chunk(Rows(1, {1})), second});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("first message only"));
  ExpectNothing();
}

TEST_F(DatasetsRpcTest, ADatasetBeyondTheLimitIsRefused) {
  const grpc::Status status =
      Upload({Chunk(Rows(1, std::vector<float>(800, 1))), Chunk(Rows(1, std::vector<float>(800, 1)))});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr("--max-dataset-bytes"));
  ExpectNothing();
}

TEST_F(DatasetsRpcTest, HostileAndUnknownIds) {
  for (const std::string& id : {std::string(".."), std::string("../x"), std::string(4096, 'a'), std::string("")}) {
    density::v1::GetDatasetRequest get;
    get.set_id(id);
    const grpc::Status got = server_.datasets().Get(Context().get(), get, &dataset_);
    EXPECT_EQ(got.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(got.error_message(), ::testing::StartsWith("id: "));
    density::v1::DeleteDatasetRequest remove;
    remove.set_id(id);
    density::v1::DeleteDatasetResponse removed;
    EXPECT_EQ(server_.datasets().Delete(Context().get(), remove, &removed).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  density::v1::GetDatasetRequest unknown;
  unknown.set_id("dataset-unknown");
  EXPECT_EQ(server_.datasets().Get(Context().get(), unknown, &dataset_).error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace densityd::rpc
