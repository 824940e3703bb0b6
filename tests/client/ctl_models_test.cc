// Models and aliases through densityctl.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/ctl_fixture.h"

namespace densityd::ctl {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST_F(CtlTest, DeletionNeedsAVersionNumber) {
  v1::DeleteModelRequest deleted;
  server_.registry.remove = [&](grpc::ServerContext&, const v1::DeleteModelRequest& request, v1::DeleteModelResponse&) {
    deleted = request;
    return grpc::Status::OK;
  };
  for (const char* model : {"power", "power@stable", "power@"}) {
    EXPECT_EQ(Ctl({"delete", model}).code, 3) << model;
  }
  EXPECT_EQ(deleted.name(), "");
  EXPECT_EQ(Ctl({"delete", "power@2"}).code, 0);
  EXPECT_EQ(deleted.name(), "power");
  EXPECT_EQ(deleted.version(), 2u);
}

TEST_F(CtlTest, ListsShowModelsWithAliasesAndReasonsOfFailure) {
  server_.registry.list = [](grpc::ServerContext&, const v1::ListModelsRequest&, v1::ListModelsResponse& response) {
    v1::ModelInfo* model = response.add_models();
    model->set_name("power");
    (*model->mutable_aliases()->mutable_versions())["stable"] = 2;
    (*model->mutable_aliases()->mutable_versions())["latest"] = 2;
    v1::VersionInfo* ready = model->add_versions();
    ready->set_version(2);
    ready->set_state(v1::READY);
    v1::VersionInfo* failed = model->add_versions();
    failed->set_version(1);
    failed->set_state(v1::LOAD_FAILED);
    failed->set_error("weights.safetensors: checksum differs");
    return grpc::Status::OK;
  };
  const Outcome list = Ctl({"models"});
  EXPECT_EQ(list.code, 0) << list.err;
  EXPECT_THAT(list.out, AllOf(HasSubstr("power@2"), HasSubstr("latest,stable"), HasSubstr("READY"),
                              HasSubstr("LOAD_FAILED"), HasSubstr("checksum differs")));
  EXPECT_THAT(Ctl({"models", "--json"}).out, HasSubstr("\"error\": \"weights.safetensors: checksum differs\""));
}

TEST_F(CtlTest, AliasesAreSetWithCompareAndSet) {
  v1::SetAliasRequest set;
  server_.registry.set_alias = [&](grpc::ServerContext&, const v1::SetAliasRequest& request, v1::Aliases& aliases) {
    set = request;
    aliases.set_name(request.name());
    aliases.set_revision(8);
    (*aliases.mutable_versions())[request.alias()] = request.version();
    return grpc::Status::OK;
  };
  const Outcome outcome = Ctl({"alias", "set", "power", "stable", "3", "--expected-revision", "7"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("revision 8"), HasSubstr("power@stable  3")));
  EXPECT_EQ(set.expected_revision(), 7u);
}

TEST_F(CtlTest, ExportWritesAFileThatIsWholeOrNotThere) {
  server_.registry.exported = {"one", "", "two"};
  Outcome outcome = Ctl({"export", "power", Path("power.tar")});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(Read("power.tar"), "onetwo");
  EXPECT_EQ(Ctl({"export", "power", "-"}).out, "onetwo");
  server_.registry.export_end = grpc::Status(grpc::StatusCode::DATA_LOSS, "weights.safetensors is damaged");
  outcome = Ctl({"export", "power", Path("broken.tar")});
  EXPECT_EQ(outcome.code, 8);
  EXPECT_FALSE(std::filesystem::exists(Path("broken.tar")));
  EXPECT_FALSE(std::filesystem::exists(Path("broken.tar.part")));
  EXPECT_EQ(Ctl({"export", "power", Path("absent/power.tar")}).code, 1);
}

TEST_F(CtlTest, ImportSendsTheWholeFile) {
  const std::string archive(3'000'000, 'x');
  Outcome outcome = Ctl({"import", Write("power.tar", archive)});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "power@4 READY\n");
  EXPECT_EQ(server_.registry.imported, archive);
  outcome = Ctl({"import", "-", "--as", "gas"}, "abc");
  EXPECT_EQ(outcome.out, "gas@4 READY\n");
  EXPECT_EQ(server_.registry.imported, "abc");
  server_.registry.import_end = grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "archive: is cut off");
  EXPECT_EQ(Ctl({"import", Path("power.tar")}).code, 3);
  EXPECT_EQ(Ctl({"import", Path("absent.tar")}).code, 4);
}

TEST_F(CtlTest, ReloadTellsWhatChanged) {
  server_.registry.reload = [](grpc::ServerContext&, const v1::ReloadFromDiskRequest& request,
                               v1::ReloadFromDiskResponse& response) {
    response.add_added(request.model() + "@3");
    response.add_removed(request.model() + "@1");
    response.add_moved(request.model() + "@latest");
    response.add_failed()->set_model("gas");
    response.mutable_failed(0)->set_error("Permission denied");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Ctl({"reload", "power"}).out,
            "added power@3\nremoved power@1\nmoved power@latest\nfailed gas: Permission denied\n");
}

TEST_F(CtlTest, ATokenIsReadFromAFile) {
  std::string sent;
  server_.registry.get = [&](grpc::ServerContext& context, const v1::GetModelRequest&, v1::ModelDetail&) {
    const auto header = context.client_metadata().find("authorization");
    if (header != context.client_metadata().end()) sent.assign(header->second.data(), header->second.size());
    return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "the token is not valid");
  };
  const Outcome outcome = Ctl({"--token-file", Write("token", "secret\n"), "models", "show", "power"});
  EXPECT_EQ(sent, "Bearer secret");
  EXPECT_EQ(outcome.code, 7);
  EXPECT_THAT(outcome.err, testing::HasSubstr("--token-file"));
  EXPECT_THAT(outcome.err, Not(testing::HasSubstr("secret")));
  EXPECT_EQ(Ctl({"--token-file", Path("absent"), "models", "show", "power"}).code, 4);
  EXPECT_EQ(Ctl({"--token-file", Write("empty", "\n"), "models", "show", "power"}).code, 3);
}

TEST_F(CtlTest, TokenCreateKeepsTheTokenOutOfTheServersLine) {
  const Outcome outcome =
      RunCtl({"token", "create", "ci", "--rights", "infer,train", "--models", "pow*", "--expires", "2027-01-31"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const std::string token = outcome.out.substr(0, outcome.out.size() - 1);
  EXPECT_THAT(token, testing::MatchesRegex("densityd_[0-9a-f]+_[0-9a-f]+"));
  EXPECT_THAT(outcome.err, testing::HasSubstr("name=ci token="));
  EXPECT_THAT(outcome.err, testing::HasSubstr(" rights=infer,train models=pow* expires=2027-01-31\n"));
  EXPECT_THAT(outcome.err, Not(testing::HasSubstr(token)));
  EXPECT_EQ(RunCtl({"token", "create", "two words"}).code, 2);
  EXPECT_THAT(RunCtl({"token", "create", "ci", "--max-rows-per-second", "1000", "--max-calls", "8"}).err,
              testing::HasSubstr(" max_rows_per_second=1000 max_calls=8\n"));
}

}  // namespace
}  // namespace densityd::ctl
