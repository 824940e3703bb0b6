// How densityctl is called: help, usage errors, exit codes, the connection.
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/ctl_fixture.h"

namespace densityd::ctl {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

/// The names of a command and of all commands below it, "models", "models show", ….
void AllCommands(const CLI::App& app, const std::vector<std::string>& path,
                 std::vector<std::vector<std::string>>& commands) {
  for (const CLI::App* command :
       app.get_subcommands([](const CLI::App* child) { return !child->get_name().empty(); })) {
    std::vector<std::string> below = path;
    below.push_back(command->get_name());
    commands.push_back(below);
    AllCommands(*command, below, commands);
  }
}

TEST(CtlHelpTest, EveryCommandHasHelpWithAnExampleOfItself) {
  std::istringstream in;
  std::ostringstream out;
  Session session = {.streams = {.in = in, .out = out, .err = out}};
  CLI::App app("", "densityctl");
  DefineCommandLine(app, session);
  std::vector<std::vector<std::string>> commands;
  AllCommands(app, {}, commands);
  ASSERT_GE(commands.size(), 18u);
  for (std::vector<std::string> command : commands) {
    std::string example = "  densityctl";
    for (const std::string& word : command) example += " " + word;
    command.push_back("--help");
    const Outcome help = RunCtl(command);
    EXPECT_EQ(help.code, 0) << example;
    EXPECT_THAT(help.out, AllOf(HasSubstr("Examples:"), HasSubstr(example)));
    EXPECT_THAT(help.err, IsEmpty()) << example;
  }
}

TEST(CtlHelpTest, TheHelpDocumentsTheExitCodes) { EXPECT_THAT(RunCtl({"--help"}).out, HasSubstr("Exit codes:")); }

TEST(CtlUsageTest, WrongUsageIsExitCodeTwoAndSaysWhatIsWrong) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "command is required"},
      {{"alias"}, "subcommand is required"},
      {{"frobnicate"}, "frobnicate"},
      {{"logprob"}, "model is required"},
      {{"logprob", "power", "--no-such-flag"}, "--no-such-flag"},
      {{"logprob", "power", "--format", "parquet"}, "parquet"},
      {{"sample", "power", "--rows", "many"}, "--rows"},
      {{"sample", "power", "--rows", "-1"}, "--rows"},
      {{"train", "power", "--data", "x.csv"}, "--preset"},
      {{"train", "power", "--preset", "maf"}, "--dataset"},
      {{"train", "power", "--preset", "maf", "--data", "x.csv", "--dataset", "d1"}, "--dataset"},
      {{"train", "power", "--preset", "maf", "--data", "x.csv", "--optimizer", "sgd"}, "sgd"},
      {{"health", "--timeout", "0"}, "--timeout"},
  };
  for (const auto& [arguments, part] : cases) {
    const Outcome outcome = RunCtl(arguments);
    EXPECT_EQ(outcome.code, 2) << part;
    EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_THAT(outcome.out, IsEmpty());
  }
}

TEST_F(CtlTest, TheCodeOfTheServerBecomesTheExitCode) {
  const std::vector<std::pair<grpc::StatusCode, int>> cases = {
      {grpc::StatusCode::INVALID_ARGUMENT, 3},  {grpc::StatusCode::NOT_FOUND, 4},
      {grpc::StatusCode::UNAVAILABLE, 5},       {grpc::StatusCode::RESOURCE_EXHAUSTED, 5},
      {grpc::StatusCode::DEADLINE_EXCEEDED, 5}, {grpc::StatusCode::FAILED_PRECONDITION, 6},
      {grpc::StatusCode::ALREADY_EXISTS, 6},    {grpc::StatusCode::ABORTED, 6},
      {grpc::StatusCode::PERMISSION_DENIED, 7}, {grpc::StatusCode::UNAUTHENTICATED, 7},
      {grpc::StatusCode::DATA_LOSS, 8},         {grpc::StatusCode::INTERNAL, 1},
      {grpc::StatusCode::UNIMPLEMENTED, 1},
  };
  grpc::StatusCode code = grpc::StatusCode::OK;
  server_.registry.load = [&](grpc::ServerContext&, const v1::LoadModelRequest&, v1::VersionInfo&) {
    return grpc::Status(code, "because");
  };
  for (const auto& [sent, expected] : cases) {
    code = sent;
    const Outcome outcome = Ctl({"load", "power"});
    EXPECT_EQ(outcome.code, expected) << sent;
    EXPECT_THAT(outcome.err, HasSubstr("because"));
  }
}

TEST(CtlConnectionTest, AnUnreachableServerIsExitCodeFiveAndSaysWhatToDo) {
  std::string address;
  { address = FakeServer().address(); }  // A port that nobody listens on any more.
  const Outcome outcome = RunCtl({"health", "--server", address, "--retry-for", "0"});
  EXPECT_EQ(outcome.code, 5);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr(address), HasSubstr("Is densityd running"), HasSubstr("DENSITYD_SERVER")));
}

TEST_F(CtlTest, TheServerCanComeFromTheEnvironment) {
  ASSERT_EQ(setenv("DENSITYD_SERVER", server_.address().c_str(), 1), 0);
  const Outcome outcome = RunCtl({"health", "--retry-for", "0"});
  unsetenv("DENSITYD_SERVER");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "SERVING\n");
}

TEST_F(CtlTest, HealthOfAModelThatIsNotServingIsExitCodeFive) {
  server_.health().SetServingStatus("power", false);
  const Outcome outcome = Ctl({"health", "power"});
  EXPECT_EQ(outcome.code, 5);
  EXPECT_EQ(outcome.out, "NOT_SERVING\n");
  EXPECT_EQ(Ctl({"health", "unknown"}).code, 4);
}

}  // namespace
}  // namespace densityd::ctl
