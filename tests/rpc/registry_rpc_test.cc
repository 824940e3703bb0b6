// ModelRegistry, and what it does to health and metrics.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class RegistryRpcTest : public ::testing::Test {
 protected:
  grpc::Status Load(const std::string& model) {
    density::v1::LoadModelRequest request;
    request.set_model(model);
    return server_.registry().Load(Context().get(), request, &info_);
  }
  grpc::Status Unload(const std::string& model) {
    density::v1::UnloadModelRequest request;
    request.set_model(model);
    return server_.registry().Unload(Context().get(), request, &info_);
  }
  grpc::Status Delete(const std::string& name, uint64_t version) {
    density::v1::DeleteModelRequest request;
    request.set_name(name);
    request.set_version(version);
    density::v1::DeleteModelResponse response;
    return server_.registry().Delete(Context().get(), request, &response);
  }
  grpc::Status SetAlias(const std::string& alias, uint64_t version, std::optional<uint64_t> revision = std::nullopt) {
    density::v1::SetAliasRequest request;
    request.set_name("power");
    request.set_alias(alias);
    request.set_version(version);
    if (revision.has_value()) request.set_expected_revision(*revision);
    return server_.registry().SetAlias(Context().get(), request, &aliases_);
  }

  TestServer server_;
  density::v1::VersionInfo info_;
  density::v1::Aliases aliases_;
};

TEST_F(RegistryRpcTest, LoadAndUnloadMayBeRepeated) {
  server_.Publish("power", 2);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(Unload("power").ok());
    EXPECT_EQ(info_.state(), density::v1::NOT_LOADED);
  }
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(Load("power@1").ok());
    EXPECT_EQ(info_.state(), density::v1::READY);
    EXPECT_EQ(info_.plan(), "fake");
    EXPECT_GT(info_.memory_bytes(), 0u);
  }
}

TEST_F(RegistryRpcTest, GetTellsTheWholeManifest) {
  server_.Publish("power", 2, 1);
  density::v1::GetModelRequest request;
  request.set_model("power");
  density::v1::ModelDetail detail;
  ASSERT_TRUE(server_.registry().Get(Context().get(), request, &detail).ok());
  EXPECT_EQ(detail.info().features(), 2u);
  EXPECT_EQ(detail.info().context_features(), 1u);
  EXPECT_EQ(detail.manifest().name(), "power");
  EXPECT_GT(detail.manifest().files_size(), 0);
}

TEST_F(RegistryRpcTest, GetPlanTellsHowALoadedVersionComputes) {
  server_.Publish("power", 2, 1);
  density::v1::GetPlanRequest request;
  request.set_model("power");
  density::v1::PlanDetail plan;
  ASSERT_TRUE(server_.registry().GetPlan(Context().get(), request, &plan).ok());
  EXPECT_EQ(plan.name(), "power");
  EXPECT_EQ(plan.version(), 1u);
  EXPECT_EQ(plan.op(), density::v1::ROW_OP_LOG_PROB);
  EXPECT_EQ(plan.precision(), density::v1::PRECISION_FLOAT32);
  EXPECT_EQ(plan.kind(), "fake");
  EXPECT_GT(plan.tile_rows(), 0u);

  request.set_op(density::v1::ROW_OP_SAMPLE);
  request.set_precision(density::v1::PRECISION_FLOAT64);
  ASSERT_TRUE(server_.registry().GetPlan(Context().get(), request, &plan).ok());
  EXPECT_EQ(plan.op(), density::v1::ROW_OP_SAMPLE);
  EXPECT_EQ(plan.precision(), density::v1::PRECISION_FLOAT64);
}

TEST_F(RegistryRpcTest, GetPlanRefusesWhatIsNotThere) {
  server_.Publish("power", 2);
  density::v1::GetPlanRequest request;
  density::v1::PlanDetail plan;
  const auto code = [&] { return server_.registry().GetPlan(Context().get(), request, &plan).error_code(); };
  request.set_model("weather");
  EXPECT_EQ(code(), grpc::StatusCode::NOT_FOUND);
  request.set_model("../power");
  EXPECT_EQ(code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_model("power");
  request.set_op(static_cast<density::v1::RowOp>(99));
  EXPECT_EQ(code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.clear_op();
  request.set_precision(static_cast<density::v1::Precision>(99));
  EXPECT_EQ(code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.clear_precision();
  ASSERT_TRUE(Unload("power").ok());
  EXPECT_EQ(code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(RegistryRpcTest, ListIsPagedByName) {
  for (const char* name : {"c", "a", "b"}) server_.Publish(name, 1);
  density::v1::ListModelsRequest request;
  request.set_page_size(2);
  density::v1::ListModelsResponse page;
  ASSERT_TRUE(server_.registry().List(Context().get(), request, &page).ok());
  ASSERT_EQ(page.models_size(), 2);
  EXPECT_EQ(page.models(0).name() + page.models(1).name(), "ab");
  request.set_page_token(page.next_page_token());
  ASSERT_TRUE(server_.registry().List(Context().get(), request, &page).ok());
  ASSERT_EQ(page.models_size(), 1);
  EXPECT_EQ(page.models(0).name(), "c");
  EXPECT_TRUE(page.next_page_token().empty());
  request.set_page_token("nonsense");
  EXPECT_EQ(server_.registry().List(Context().get(), request, &page).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(RegistryRpcTest, AVersionInUseIsNotDeleted) {
  server_.Publish("power", 2);
  const grpc::Status loaded = Delete("power", 1);
  EXPECT_EQ(loaded.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(SetAlias("stable", 1).ok());
  ASSERT_TRUE(Unload("power").ok());
  EXPECT_EQ(Delete("power", 1).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(Load("power").ok()) << "a refused deletion must leave the version whole";
}

TEST_F(RegistryRpcTest, ADeletedVersionIsGone) {
  server_.Publish("power", 2);
  server_.Publish("power", 2);
  ASSERT_TRUE(Unload("power@1").ok());
  ASSERT_TRUE(Delete("power", 1).ok());
  EXPECT_EQ(Load("power@1").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Delete("power", 1).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(Load("power").ok());
}

TEST_F(RegistryRpcTest, AliasesMoveByCompareAndSet) {
  server_.Publish("power", 2);
  server_.Publish("power", 2);
  ASSERT_TRUE(SetAlias("stable", 1).ok());
  const uint64_t seen = aliases_.revision();
  ASSERT_TRUE(SetAlias("stable", 2, seen).ok());
  EXPECT_EQ(SetAlias("stable", 1, seen).error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(SetAlias("stable", 9).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(SetAlias("../x", 1).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(SetAlias("9", 1).error_code(), grpc::StatusCode::INVALID_ARGUMENT);

  density::v1::DeleteAliasRequest request;
  request.set_name("power");
  request.set_alias("stable");
  ASSERT_TRUE(server_.registry().DeleteAlias(Context().get(), request, &aliases_).ok());
  EXPECT_EQ(aliases_.versions().count("stable"), 0u);
  EXPECT_EQ(server_.registry().DeleteAlias(Context().get(), request, &aliases_).error_code(),
            grpc::StatusCode::NOT_FOUND);
  request.set_alias("latest");
  EXPECT_EQ(server_.registry().DeleteAlias(Context().get(), request, &aliases_).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(RegistryRpcTest, HostileNamesAreRefusedEverywhere) {
  for (const std::string& name : {std::string(".."), std::string("../../etc"), std::string("a/b"),
                                  std::string(4096, 'a'), std::string("a\0b", 3), std::string(".tmp")}) {
    EXPECT_EQ(Load(name).error_code(), grpc::StatusCode::INVALID_ARGUMENT) << name;
    EXPECT_EQ(Unload(name).error_code(), grpc::StatusCode::INVALID_ARGUMENT) << name;
    EXPECT_EQ(Delete(name, 1).error_code(), grpc::StatusCode::INVALID_ARGUMENT) << name;
    density::v1::GetModelRequest get;
    get.set_model(name);
    density::v1::ModelDetail detail;
    EXPECT_EQ(server_.registry().Get(Context().get(), get, &detail).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    density::v1::SetAliasRequest set;
    set.set_name(name);
    set.set_alias("stable");
    set.set_version(1);
    EXPECT_EQ(server_.registry().SetAlias(Context().get(), set, &aliases_).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
}

TEST_F(RegistryRpcTest, ADamagedVersionIsReportedAndTheOthersServe) {
  server_.Publish("power", 2);
  server_.Publish("weather", 2);
  ASSERT_TRUE(Unload("power").ok());
  const std::string weights = server_.root() + "/models/power/1/weights.safetensors";
  std::string bytes = densityd::testing::ReadFile(weights);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  densityd::testing::WriteFile(weights, bytes);
  const grpc::Status status = Load("power");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_THAT(status.error_message(), HasSubstr("weights.safetensors"));

  density::v1::ListModelsResponse list;
  ASSERT_TRUE(server_.registry().List(Context().get(), {}, &list).ok());
  std::map<std::string, density::v1::VersionInfo> versions;
  for (const auto& model : list.models()) versions[model.name()] = model.versions(0);
  EXPECT_EQ(versions["power"].state(), density::v1::LOAD_FAILED);
  EXPECT_EQ(versions["power"].error_code(), 15);
  EXPECT_EQ(versions["weather"].state(), density::v1::READY);
}

TEST_F(RegistryRpcTest, SeriesOfAModelComeAndGoWithIt) {
  server_.Publish("power", 1);
  density::v1::LogProbRequest request;
  request.set_model("power");
  *request.mutable_rows() = Rows(1, {1, 2, 3});
  density::v1::LogProbResponse response;
  ASSERT_TRUE(server_.estimator().LogProb(Context().get(), request, &response).ok());
  // The memory of a call is given back when its answer was sent, which may be after the caller has it.
  while (server_.metrics().Text().find("densityd_inflight_bytes 0") == std::string::npos) server_.Sync();
  const std::string text = server_.metrics().Text();
  for (const char* name :
       {"densityd_requests_total{code=\"OK\",method=\"DensityEstimator/LogProb\"} 1",
        "densityd_rows_total{model=\"power\",op=\"log_prob\"} 3", "densityd_log_prob_count{model=\"power\"} 3",
        "densityd_row_percentile_count{model=\"power\"} 3", "densityd_request_seconds_bucket",
        "densityd_queue_seconds_sum", "densityd_compute_seconds_sum", "densityd_tile_rows_sum",
        "densityd_rejected_total", "densityd_models_loaded 1",
        "densityd_model_bytes{model=\"power\",version=\"1\"} 2000"}) {
    EXPECT_THAT(text, HasSubstr(name));
  }
  ASSERT_TRUE(Unload("power").ok());
  EXPECT_THAT(server_.metrics().Text(), Not(HasSubstr("power")));
}

}  // namespace
}  // namespace densityd::rpc
