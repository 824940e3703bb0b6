// Train and Trainings, with scripts in place of the training process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using density::v1::Training;
using ::testing::HasSubstr;

constexpr char kRunsForEver[] = "#!/bin/sh\nexec sleep 1000\n";

density::v1::TrainRequest Request() {
  density::v1::TrainRequest request;
  request.set_model("power");
  request.mutable_preset()->set_name("maf");
  std::vector<float> values;
  for (int i = 0; i < 40; ++i) values.push_back(static_cast<float>(i * i % 17));
  *request.mutable_rows() = Rows(2, values);
  return request;
}

Training Start(TestServer& server) {
  Training training;
  const grpc::Status status = server.estimator().Train(Context().get(), Request(), &training);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return training;
}

/// All states that a Watch sends, and how it ends.
std::vector<Training> Watch(TestServer& server, const std::string& id, grpc::Status& end) {
  const auto context = Context();
  density::v1::WatchTrainingRequest request;
  request.set_id(id);
  const auto reader = server.trainings().Watch(context.get(), request);
  std::vector<Training> states;
  for (Training state; reader->Read(&state);) states.push_back(state);
  end = reader->Finish();
  return states;
}

grpc::Status Cancel(TestServer& server, const std::string& id, Training& training) {
  density::v1::CancelTrainingRequest request;
  request.set_id(id);
  return server.trainings().Cancel(Context().get(), request, &training);
}

TEST(TrainingsRpc, WatchEndsAfterTheFinalState) {
  TestServer server;
  const Training training = Start(server);
  EXPECT_EQ(training.model(), "power");
  for (int again = 0; again < 2; ++again) {
    grpc::Status end;
    const std::vector<Training> states = Watch(server, training.id(), end);
    EXPECT_TRUE(end.ok()) << end.error_message();
    ASSERT_FALSE(states.empty());
    EXPECT_EQ(states.back().state(), density::v1::FAILED);
    EXPECT_THAT(states.back().error(), HasSubstr("3"));
    for (size_t i = 1; i < states.size(); ++i) EXPECT_GT(states[i].revision(), states[i - 1].revision());
  }
}

TEST(TrainingsRpc, CancelEndsATrainingOnce) {
  TestServer server({.training_process = kRunsForEver});
  Training training = Start(server);
  ASSERT_TRUE(Cancel(server, training.id(), training).ok());
  grpc::Status end;
  const std::vector<Training> states = Watch(server, training.id(), end);
  ASSERT_FALSE(states.empty());
  EXPECT_EQ(states.back().state(), density::v1::CANCELLED);
  EXPECT_EQ(Cancel(server, training.id(), training).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST(TrainingsRpc, AWatcherThatLeavesHarmsNobody) {
  TestServer server({.training_process = kRunsForEver});
  Training training = Start(server);
  {
    const auto context = Context();
    density::v1::WatchTrainingRequest request;
    request.set_id(training.id());
    const auto reader = server.trainings().Watch(context.get(), request);
    Training state;
    ASSERT_TRUE(reader->Read(&state));
    context->TryCancel();
    EXPECT_FALSE(reader->Finish().ok());
  }
  ASSERT_TRUE(Cancel(server, training.id(), training).ok());
  grpc::Status end;
  EXPECT_EQ(Watch(server, training.id(), end).back().state(), density::v1::CANCELLED);
}

TEST(TrainingsRpc, StoppingTheServerEndsWatchesAtOnce) {
  TestServer server({.training_process = kRunsForEver});
  const Training training = Start(server);
  const auto context = Context();
  density::v1::WatchTrainingRequest request;
  request.set_id(training.id());
  const auto reader = server.trainings().Watch(context.get(), request);
  Training state;
  ASSERT_TRUE(reader->Read(&state));
  const absl::Time begin = absl::Now();
  server.Stop(absl::Seconds(30));
  while (reader->Read(&state)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(20));
}

TEST(TrainingsRpc, ListIsPagedNewestFirst) {
  TestServer server;
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(Start(server).id());
  density::v1::ListTrainingsRequest request;
  request.set_page_size(2);
  density::v1::ListTrainingsResponse page;
  ASSERT_TRUE(server.trainings().List(Context().get(), request, &page).ok());
  ASSERT_EQ(page.trainings_size(), 2);
  EXPECT_EQ(page.trainings(0).id(), ids[2]);
  EXPECT_EQ(page.trainings(1).id(), ids[1]);
  request.set_page_token(page.next_page_token());
  ASSERT_TRUE(server.trainings().List(Context().get(), request, &page).ok());
  ASSERT_EQ(page.trainings_size(), 1);
  EXPECT_EQ(page.trainings(0).id(), ids[0]);
  request.set_model("../x");
  EXPECT_EQ(server.trainings().List(Context().get(), request, &page).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(TrainingsRpc, UnknownAndHostileIds) {
  TestServer server;
  for (const auto& [id, code] : {std::pair(std::string("training-unknown"), grpc::StatusCode::NOT_FOUND),
                                 std::pair(std::string("../x"), grpc::StatusCode::INVALID_ARGUMENT),
                                 std::pair(std::string(4096, 'a'), grpc::StatusCode::INVALID_ARGUMENT)}) {
    Training training;
    density::v1::GetTrainingRequest get;
    get.set_id(id);
    EXPECT_EQ(server.trainings().Get(Context().get(), get, &training).error_code(), code) << id;
    EXPECT_EQ(Cancel(server, id, training).error_code(), code) << id;
    grpc::Status end;
    EXPECT_TRUE(Watch(server, id, end).empty());
    EXPECT_EQ(end.error_code(), code) << id;
  }
}

TEST(TrainingsRpc, ABadRequestStartsNothing) {
  TestServer server;
  for (const auto& change : std::vector<std::function<void(density::v1::TrainRequest&)>>{
           [](auto& request) { request.set_model("../x"); }, [](auto& request) { request.clear_rows(); },
           [](auto& request) { request.clear_preset(); },
           [](auto& request) { request.mutable_rows()->set_values(3, NAN); },
           [](auto& request) { request.set_file("../../etc/passwd"); }}) {
    density::v1::TrainRequest request = Request();
    change(request);
    Training training;
    const grpc::Status status = server.estimator().Train(Context().get(), request, &training);
    EXPECT_FALSE(status.ok());
    EXPECT_FALSE(status.error_message().empty());
  }
  density::v1::ListTrainingsResponse list;
  ASSERT_TRUE(server.trainings().List(Context().get(), {}, &list).ok());
  EXPECT_EQ(list.trainings_size(), 0);
}

TEST(TrainingsRpc, ADatasetInUseIsNotDeleted) {
  TestServer server({.training_process = kRunsForEver});
  density::v1::Dataset dataset;
  const auto context = Context();
  const auto writer = server.datasets().Upload(context.get(), &dataset);
  density::v1::UploadDatasetRequest chunk;
  *chunk.mutable_rows() = Request().rows();
  ASSERT_TRUE(writer->Write(chunk) && writer->WritesDone());
  ASSERT_TRUE(writer->Finish().ok());
  density::v1::TrainRequest request = Request();
  request.set_dataset(dataset.id());
  Training training;
  ASSERT_TRUE(server.estimator().Train(Context().get(), request, &training).ok());
  density::v1::DeleteDatasetRequest remove;
  remove.set_id(dataset.id());
  density::v1::DeleteDatasetResponse removed;
  EXPECT_EQ(server.datasets().Delete(Context().get(), remove, &removed).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace densityd::rpc
