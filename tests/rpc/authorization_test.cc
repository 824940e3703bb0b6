// Tokens, rights and the audit log, over real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "grpcpp/generic/generic_stub.h"
#include "nlohmann/json.hpp"
#include "server/base/strings.h"
#include "server/base/token.h"
#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using densityd::testing::ReadFile;
using densityd::testing::TempFolder;
using densityd::testing::WriteFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class AuthorizationTest : public ::testing::Test {
 protected:
  AuthorizationTest() {
    WriteGrants();
    authorizer_ = Authorizer::Open(file_, Clock::Real(), absl::InfiniteDuration()).value();
    server_ =
        std::make_unique<TestServer>(TestServer::Settings{.authorizer = authorizer_.get(), .audit_log = &audit_log_});
    server_->Publish("power", 1);
    server_->Publish("secret", 1);
  }

  void WriteGrants(const std::string& more = "") const {
    WriteFile(file_, Line("reader", reader_, "infer models=pow*") + Line("trainer", trainer_, "train models=power") +
                         Line("boss", boss_, "admin") + Line("scraper", scraper_, "metrics") + more);
  }
  static std::string Line(const std::string& name, const std::string& token, const std::string& rights) {
    return absl::StrCat("name=", name, " token=", ToAbsl(TokenId(token)), ":", TokenDigest(token), " rights=", rights,
                        "\n");
  }
  static std::unique_ptr<grpc::ClientContext> As(const std::string& token) {
    auto context = Context();
    if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
    return context;
  }

  grpc::Status LogProb(grpc::ClientContext& context, const std::string& model) {
    density::v1::LogProbRequest request;
    request.set_model(model);
    *request.mutable_rows() = Rows(1, {0});
    density::v1::LogProbResponse response;
    return server_->estimator().LogProb(&context, request, &response);
  }
  grpc::Status LogProb(const std::string& token, const std::string& model) { return LogProb(*As(token), model); }
  grpc::Status Unload(const std::string& token, const std::string& model) {
    density::v1::UnloadModelRequest request;
    request.set_model(model);
    density::v1::VersionInfo response;
    return server_->registry().Unload(As(token).get(), request, &response);
  }
  grpc::Status Train(const std::string& token, const std::string& model) {
    density::v1::TrainRequest request;
    request.set_model(model);
    density::v1::Training response;
    return server_->estimator().Train(As(token).get(), request, &response);
  }
  std::vector<std::string> Models(const std::string& token) {
    density::v1::ListModelsResponse response;
    EXPECT_TRUE(server_->registry().List(As(token).get(), {}, &response).ok());
    std::vector<std::string> names;
    for (const auto& model : response.models()) names.push_back(model.name());
    return names;
  }
  std::vector<nlohmann::json> Audited() const {
    std::vector<nlohmann::json> lines;
    std::istringstream text(std::filesystem::exists(audit_file_) ? ReadFile(audit_file_) : "");
    for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }

  const TempFolder folder_;
  const std::string file_ = folder_.Path("grants");
  const std::string audit_file_ = folder_.Path("audit.jsonl");
  const std::string reader_ = NewToken();
  const std::string trainer_ = NewToken();
  const std::string boss_ = NewToken();
  const std::string scraper_ = NewToken();
  std::unique_ptr<Authorizer> authorizer_;
  AuditLog audit_log_{FileSystem::Real(), audit_file_, Clock::Real()};
  std::unique_ptr<TestServer> server_;
};

TEST_F(AuthorizationTest, LetsInWhoHasTheRightForTheModel) {
  EXPECT_TRUE(LogProb(reader_, "power").ok());
  EXPECT_TRUE(LogProb(reader_, "power@1").ok());
  EXPECT_TRUE(Unload(boss_, "secret").ok());
  EXPECT_THAT(Models(boss_), ElementsAre("power", "secret"));
}

TEST_F(AuthorizationTest, KnowsNobodyWithoutGoodCredentials) {
  const auto ends = [&](const std::function<void(grpc::ClientContext&)>& prepare) {
    const auto context = Context();
    prepare(*context);
    return LogProb(*context, "power").error_code();
  };
  const auto header = [](const std::string& text) {
    return [text](grpc::ClientContext& context) { context.AddMetadata("authorization", text); };
  };
  EXPECT_EQ(ends([](grpc::ClientContext&) {}), grpc::StatusCode::UNAUTHENTICATED);
  for (const std::string& text :
       {std::string(), std::string("Bearer"), std::string("Bearer "), "Basic " + reader_, reader_,
        "Bearer " + reader_ + "0", "Bearer " + NewToken(), "Bearer " + std::string(4000, 'a')}) {
    EXPECT_EQ(ends(header(text)), grpc::StatusCode::UNAUTHENTICATED) << text;
  }
  EXPECT_EQ(ends(header("bearer " + reader_)), grpc::StatusCode::OK);
}

TEST_F(AuthorizationTest, DeniesWithTheMissingRightAndWithoutSayingWhatExists) {
  const grpc::Status existing = LogProb(reader_, "secret");
  const grpc::Status absent = LogProb(reader_, "sesame");
  EXPECT_EQ(existing.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(existing.error_message(),
            "\"reader\" may not call DensityEstimator/LogProb: that needs the right infer for the model \"secret\"");
  EXPECT_EQ(absent.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  std::string same = absent.error_message();
  same.replace(same.find("sesame"), 6, "secret");
  EXPECT_EQ(same, existing.error_message());
  EXPECT_EQ(LogProb(boss_, "power").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(LogProb(scraper_, "power").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Unload(reader_, "power").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Train(reader_, "power").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Train(trainer_, "secret").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Train(trainer_, "power").error_code(), grpc::StatusCode::INVALID_ARGUMENT) << "let in, and empty";
}

TEST_F(AuthorizationTest, ListsOnlyWhatTheCallerMaySee) {
  EXPECT_THAT(Models(reader_), ElementsAre("power"));
  density::v1::ListModelsResponse response;
  EXPECT_EQ(server_->registry().List(As(scraper_).get(), {}, &response).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

// A stranger could otherwise make the server hold what he sends.
TEST_F(AuthorizationTest, StrangersAreTurnedAwayBeforeTheirMessageIsRead) {
  grpc::GenericStub stub(server_->Connect());
  for (const char* method :
       {"DensityEstimator/Train", "ModelRegistry/Load", "ModelRegistry/Export", "Trainings/Watch", "Datasets/Upload"}) {
    grpc::CompletionQueue queue;
    const auto context = Context();
    const auto call = stub.PrepareCall(context.get(), absl::StrCat("/density.v1.", method), &queue);
    void* tag = nullptr;
    bool ok = false;
    call->StartCall(&tag);
    ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
    grpc::Status status;
    call->Finish(&status, &tag);
    ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << method << ": " << status.error_message();
  }
}

TEST_F(AuthorizationTest, CoversStreams) {
  density::v1::StreamSampleRequest sample;
  sample.mutable_sample()->set_model("secret");
  sample.mutable_sample()->set_rows(1);
  density::v1::SampleResponse rows;
  const auto sample_context = As(reader_);
  const auto samples = server_->estimator().StreamSample(sample_context.get(), sample);
  EXPECT_FALSE(samples->Read(&rows));
  EXPECT_EQ(samples->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);

  const auto stranger = Context();
  const auto log_probs = server_->estimator().StreamLogProb(stranger.get());
  density::v1::LogProbRequest first;
  first.set_model("power");
  *first.mutable_rows() = Rows(1, {0});
  log_probs->Write(first);
  density::v1::LogProbResponse answer;
  EXPECT_FALSE(log_probs->Read(&answer));
  EXPECT_EQ(log_probs->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);

  density::v1::ExportModelRequest request;
  request.set_model("power");
  const auto context = As(reader_);
  const auto reader = server_->registry().Export(context.get(), request);
  density::v1::ExportModelResponse piece;
  EXPECT_FALSE(reader->Read(&piece));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);

  const auto nobody = Context();
  density::v1::Dataset dataset;
  const auto upload = server_->datasets().Upload(nobody.get(), &dataset);
  EXPECT_EQ(upload->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(AuthorizationTest, FollowsTheFileAndKeepsWhatItKnowsWhereThatIsWrong) {
  const std::string fresh = NewToken();
  EXPECT_EQ(LogProb(fresh, "power").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  WriteGrants(Line("fresh", fresh, "infer"));
  authorizer_->Refresh();
  EXPECT_TRUE(LogProb(fresh, "power").ok());
  WriteFile(file_, "this is no grant");
  authorizer_->Refresh();
  EXPECT_TRUE(LogProb(fresh, "power").ok());
  std::filesystem::remove(file_);
  authorizer_->Refresh();
  EXPECT_TRUE(LogProb(fresh, "power").ok());
  WriteGrants();
  authorizer_->Refresh();
  EXPECT_EQ(LogProb(fresh, "power").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(LogProb(reader_, "power").ok());
}

TEST_F(AuthorizationTest, AuditsEveryChangeAndEveryRefusedOne) {
  ASSERT_TRUE(Unload(boss_, "power").ok());
  ASSERT_FALSE(Unload(reader_, "power").ok());
  ASSERT_FALSE(Unload(boss_, "absent").ok());
  ASSERT_FALSE(Unload(NewToken(), "power").ok());
  ASSERT_TRUE(LogProb(reader_, "power@1").error_code() == grpc::StatusCode::FAILED_PRECONDITION);
  const std::vector<nlohmann::json> lines = Audited();
  ASSERT_EQ(lines.size(), 3) << "who is not known changes nothing, and neither does a question";
  EXPECT_EQ(lines[0]["who"], "boss");
  EXPECT_EQ(lines[0]["method"], "ModelRegistry/Unload");
  EXPECT_EQ(lines[0]["subject"], "power");
  EXPECT_EQ(lines[0]["made"], "power@1");
  EXPECT_EQ(lines[0]["code"], "OK");
  EXPECT_THAT(lines[0]["peer"].get<std::string>(), HasSubstr("127.0.0.1"));
  EXPECT_EQ(lines[1]["who"], "reader");
  EXPECT_EQ(lines[1]["code"], "PERMISSION_DENIED");
  EXPECT_EQ(lines[2]["code"], "NOT_FOUND");
  EXPECT_THAT(ReadFile(audit_file_), Not(HasSubstr(boss_)));
}

TEST_F(AuthorizationTest, MetricsHaveARightOfTheirOwn) {
  EXPECT_TRUE(authorizer_->MayReadMetrics(scraper_));
  EXPECT_FALSE(authorizer_->MayReadMetrics(boss_));
  EXPECT_FALSE(authorizer_->MayReadMetrics(""));
}

TEST(Authorizer, RefusesAFileThatEverybodyMayWrite) {
  const TempFolder folder;
  const std::string file = folder.Path("grants");
  WriteFile(file, "");
  EXPECT_TRUE(Authorizer::Open(file, Clock::Real()).ok());
  std::filesystem::permissions(file, std::filesystem::perms::all);
  EXPECT_EQ(Authorizer::Open(file, Clock::Real()).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Authorizer::Open(folder.Path("absent"), Clock::Real()).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace densityd::rpc
