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

}  // namespace
}  // namespace densityd::ctl
