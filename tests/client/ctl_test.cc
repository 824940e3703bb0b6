// densityctl against a server whose answers the tests decide.
#include "client/ctl/ctl.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "client/lib/matrix_codec.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "server/base/table.h"
#include "tests/client/fake_server.h"

namespace densityd::ctl {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

/// What one run of densityctl left behind.
struct Outcome {
  int code = 0;
  std::string out;
  std::string err;
};

Outcome RunCtl(const std::vector<std::string>& arguments, const std::string& input = "", int err_columns = 0) {
  std::istringstream in(input);
  std::ostringstream out;
  std::ostringstream err;
  Outcome outcome;
  outcome.code = Run(arguments, {.in = in, .out = out, .err = err, .err_columns = err_columns});
  outcome.out = out.str();
  outcome.err = err.str();
  return outcome;
}

/// A server with the model power@3: columns a, b given month. log p = a - b + 100 month; z = x + 1; x = z - 1.
class CtlTest : public testing::Test {
 protected:
  CtlTest() : folder_(testing::TempDir() + "/ctl_test_" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
    server_.registry.get = [](grpc::ServerContext&, const v1::GetModelRequest& request, v1::ModelDetail& detail) {
      if (request.model() != "power") return grpc::Status(grpc::StatusCode::NOT_FOUND, "no model " + request.model());
      detail.mutable_info()->set_name("power");
      detail.mutable_info()->set_version(3);
      detail.mutable_info()->set_features(2);
      for (const char* name : {"a", "b"}) detail.mutable_manifest()->mutable_schema()->add_features()->set_name(name);
      detail.mutable_manifest()->mutable_schema()->add_context()->set_name("month");
      return grpc::Status::OK;
    };
    server_.estimator.log_prob = [](grpc::ServerContext&, const v1::LogProbRequest& request,
                                    v1::LogProbResponse& response) {
      Answered(response.mutable_model());
      const std::vector<double> x = Numbers(request.rows());
      const std::vector<double> month = Numbers(request.context());
      for (size_t row = 0; row < request.rows().rows(); ++row) {
        const double context = month.empty() ? 0 : month.size() == 1 ? month[0] : month[row];
        response.mutable_log_prob()->add_values(static_cast<float>(x[2 * row] - x[2 * row + 1] + 100 * context));
        if (request.tail_probability()) response.mutable_tail_probability()->add_values(0.25f);
      }
      return grpc::Status::OK;
    };
    server_.estimator.inverse = [](grpc::ServerContext&, const v1::InverseRequest& request,
                                   v1::InverseResponse& response) { return Shift(request, response, 1); };
    server_.estimator.forward = [](grpc::ServerContext&, const v1::ForwardRequest& request,
                                   v1::ForwardResponse& response) { return Shift(request, response, -1); };
    server_.estimator.sample = [](grpc::ServerContext&, const v1::SampleRequest& request,
                                  v1::SampleResponse& response) {
      Answered(response.mutable_model());
      response.set_seed(request.has_seed() ? request.seed() : 99);
      response.mutable_rows()->set_rows(request.rows());
      response.mutable_rows()->set_cols(2);
      for (uint64_t row = 0; row < request.rows(); ++row) {
        response.mutable_rows()->add_values(static_cast<float>(response.seed()));
        response.mutable_rows()->add_values(static_cast<float>(row + request.row_offset()));
        if (request.log_prob()) response.mutable_log_prob()->add_values(-0.5f);
      }
      return grpc::Status::OK;
    };
  }
  ~CtlTest() override { std::filesystem::remove_all(folder_); }

  static void Answered(v1::ModelVersion* model) {
    model->set_name("power");
    model->set_version(3);
  }

  static std::vector<double> Numbers(const v1::Matrix& matrix) {
    std::vector<double> numbers;
    EXPECT_TRUE(client_internal::AppendMatrix(matrix, matrix.rows(), matrix.cols(), "rows", numbers).ok());
    return numbers;
  }

  template <typename Request, typename Response>
  static grpc::Status Shift(const Request& request, Response& response, double shift) {
    Answered(response.mutable_model());
    response.mutable_rows()->set_rows(request.rows().rows());
    response.mutable_rows()->set_cols(request.rows().cols());
    for (double number : Numbers(request.rows())) {
      response.mutable_rows()->add_values(static_cast<float>(number + shift));
    }
    for (uint64_t row = 0; row < request.rows().rows(); ++row) response.mutable_log_abs_det()->add_values(0.5f);
    return grpc::Status::OK;
  }

  /// Runs densityctl on the server of this test.
  Outcome Ctl(std::vector<std::string> arguments, const std::string& input = "", int err_columns = 0) const {
    arguments.insert(arguments.begin(), {"--server", server_.address(), "--retry-for", "0"});
    return RunCtl(arguments, input, err_columns);
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& content) const {
    std::ofstream(Path(name), std::ios::binary) << content;
    return Path(name);
  }
  std::string Read(const std::string& name) const {
    std::ifstream file(Path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  FakeServer server_;
  std::string folder_;
};

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

TEST_F(CtlTest, LogProbReadsEveryFormatAndTakesColumnsByName) {
  const std::string csv = "month,comment,b,a\n1,0,2,5\n2,0,1,4\n";
  const std::string json = R"([{"a":5,"b":2,"month":1},{"a":4,"b":1,"month":2}])";
  const std::string object = R"({"columns":["b","a","month"],"rows":[[2,5,1],[1,4,2]]})";
  for (const std::string& input : {csv, json, object}) {
    const Outcome outcome = Ctl({"logprob", "power"}, input);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, "log_prob\n103\n203\n");
  }
  // Without names, the columns go by position: features, then context.
  const std::string npy = FormatNpy({.rows = 2, .cols = 3, .columns = {}, .values = {5, 2, 1, 4, 1, 2}});
  for (const std::string& input : {npy, std::string("5,2,1\n4,1,2\n"), std::string("[[5,2,1],[4,1,2]]")}) {
    EXPECT_EQ(Ctl({"logprob", "power"}, input).out, "log_prob\n103\n203\n");
  }
}

TEST_F(CtlTest, ColumnsAndContextCanBeChosen) {
  const std::string rows = Write("rows.csv", "p,q,r\n5,2,1\n4,1,2\n");
  EXPECT_EQ(Ctl({"logprob", "power", rows, "--columns", "p,q", "--context-columns", "r"}).out, "log_prob\n103\n203\n");
  EXPECT_EQ(Ctl({"logprob", "power", rows, "--columns", "q,p", "--context-columns", "r"}).out, "log_prob\n97\n197\n");
  const std::string month = Write("month.csv", "month\n7\n");
  EXPECT_EQ(Ctl({"logprob", "power", "--context", month}, "b,a\n2,5\n").out, "log_prob\n703\n");
}

TEST_F(CtlTest, AMissingColumnIsNamedWithThoseThatThereAre) {
  const Outcome unnamed = Ctl({"logprob", "power"}, "a,x,month\n1,2,3\n");
  EXPECT_EQ(unnamed.code, 3);
  EXPECT_THAT(unnamed.err, AllOf(HasSubstr("standard input: power@3 needs the columns a, b"),
                                 HasSubstr("context columns month"), HasSubstr("a, x, month"), HasSubstr("--columns")));
  const Outcome chosen = Ctl({"logprob", "power", "--columns", "a,nope"}, "a,x,month\n1,2,3\n");
  EXPECT_EQ(chosen.code, 4);
  EXPECT_THAT(chosen.err, HasSubstr("no column \"nope\""));
}

TEST_F(CtlTest, TailProbabilityAndJsonComeOnRequest) {
  EXPECT_EQ(Ctl({"logprob", "power", "--tail-probability"}, "a,b,month\n5,2,0\n").out,
            "log_prob,tail_probability\n3,0.25\n");
  EXPECT_EQ(Ctl({"logprob", "power", "--format", "json"}, "a,b,month\n5,2,0\n").out,
            "{\"model\":\"power@3\",\"columns\":[\"log_prob\"],\"rows\":[[3.0]]}\n");
}

TEST_F(CtlTest, TheNameOfTheOutputFileChoosesItsFormat) {
  for (const std::string name : {"out.npy", "out.json", "out.csv"}) {
    const Outcome outcome = Ctl({"inverse", "power", "--log-abs-det", "-o", Path(name)}, "a,b,month\n5,2,0\n");
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_THAT(outcome.out, IsEmpty());
  }
  EXPECT_EQ(Read("out.csv"), "z0,z1,log_abs_det\n6,3,0.5\n");
  EXPECT_EQ(Read("out.json"),
            "{\"model\":\"power@3\",\"columns\":[\"z0\",\"z1\",\"log_abs_det\"],\"rows\":[[6.0,3.0,0.5]]}\n");
  const absl::StatusOr<Table> npy = ParseNpy(Read("out.npy"), "out.npy");
  ASSERT_TRUE(npy.ok()) << npy.status();
  EXPECT_THAT(npy->values, ElementsAre(6, 3, 0.5));
}

TEST_F(CtlTest, ForwardOfInverseIsTheIdentityInEveryFormat) {
  const std::string month = Write("month.csv", "month\n7\n");
  for (const std::string format : {"csv", "npy", "json"}) {
    const std::string z = Ctl({"inverse", "power", "--context", month, "--format", format}, "b,a\n2,5\n1,4\n").out;
    EXPECT_EQ(Ctl({"forward", "power", "--context", month}, z).out, "a,b\n5,2\n4,1\n") << format;
  }
}

TEST_F(CtlTest, SampleTakesSeedOffsetAndContext) {
  EXPECT_EQ(Ctl({"sample", "power", "--rows", "2", "--seed", "7", "--row-offset", "10", "--log-prob"}).out,
            "a,b,log_prob\n7,10,-0.5\n7,11,-0.5\n");
  EXPECT_EQ(Ctl({"sample", "power", "--format", "json"}).out,
            "{\"model\":\"power@3\",\"seed\":99,\"columns\":[\"a\",\"b\"],\"rows\":[[99.0,0.0]]}\n");
  const std::string months = Write("months.csv", "month\n1\n2\n3\n");
  EXPECT_EQ(Ctl({"sample", "power", "--seed", "1", "--context", months}).out, "a,b\n1,0\n1,1\n1,2\n");
}

TEST_F(CtlTest, BadInputNamesThePlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a,b,month\n1,2,3\n1,2\n", "line 3"},
      {"a,b,month\n1,x,3\n", "column 2"},
      {"[[1,2,3],[1,2]]", "row 1: has 2 numbers, row 0 has 3"},
      {"[[1,2,\"x\"]]", "row 0: column 2: \"x\" is no number"},
      {"[[1,2,3", "parse error"},
      {"{\"model\":\"power\"}", "no member \"rows\""},
      {"[]", "no rows"},
      {std::string("\x93NUMPY\x01\x00", 8), "standard input"},
  };
  for (const auto& [input, part] : cases) {
    const Outcome outcome = Ctl({"logprob", "power"}, input);
    EXPECT_EQ(outcome.code, 3) << input;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("INVALID_ARGUMENT"), HasSubstr(part))) << input;
    EXPECT_THAT(outcome.out, IsEmpty());
  }
}

TEST_F(CtlTest, FilesThatCannotBeReadOrWrittenAreNamed) {
  const Outcome absent = Ctl({"logprob", "power", Path("absent.csv")});
  EXPECT_EQ(absent.code, 4);
  EXPECT_THAT(absent.err, AllOf(HasSubstr("absent.csv"), HasSubstr("No such file")));
  const Outcome folder = Ctl({"logprob", "power", folder_});
  EXPECT_EQ(folder.code, 3);
  EXPECT_THAT(folder.err, HasSubstr("Is a directory"));
  const Outcome unwritable = Ctl({"sample", "power", "-o", Path("no/such/folder.csv")});
  EXPECT_EQ(unwritable.code, 1);
  EXPECT_THAT(unwritable.err, HasSubstr("cannot write"));
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

/// A server on which every training succeeds, or fails where its model is called "bad".
class CtlTrainTest : public CtlTest {
 protected:
  CtlTrainTest() {
    server_.estimator.train = [this](grpc::ServerContext&, const v1::TrainRequest& request, v1::Training& training) {
      request_ = request;
      training.set_id("t1");
      training.set_model(request.model());
      training.set_state(v1::QUEUED);
      return grpc::Status::OK;
    };
    server_.trainings.watch = [this](const v1::WatchTrainingRequest& request,
                                     grpc::ServerWriter<v1::Training>& writer) {
      v1::Training training;
      training.set_id(request.id());
      training.set_model(request_.model());
      training.set_state(v1::RUNNING);
      for (uint64_t step = 1; step <= 100; ++step) {
        training.set_revision(step);
        training.mutable_progress()->set_step(step);
        training.mutable_progress()->set_total_steps(100);
        training.mutable_progress()->set_rows_per_second(41'234);
        training.mutable_progress()->set_validation_nll(1.25);
        training.mutable_progress()->set_best_validation_nll(1.125);
        training.mutable_progress()->set_eta_seconds(75);
        writer.Write(training);
      }
      training.set_revision(200);
      training.set_state(request_.model() == "bad" ? v1::FAILED : v1::SUCCEEDED);
      training.set_version(4);
      if (request_.model() == "bad") training.set_error("rows: column \"c\" is constant");
      training.mutable_report()->set_validation_log_likelihood(-1.125);
      training.mutable_report()->set_validation_standard_error(0.01);
      writer.Write(training);
      return grpc::Status::OK;
    };
  }

  v1::TrainRequest request_;
};

TEST_F(CtlTrainTest, TrainUploadsTheFileAndFollowsTheTraining) {
  const std::string rows = Write("rows.csv", "a,b,month\n1,2,3\n4,5,6\n");
  const Outcome outcome = Ctl({"train",        "power", "--preset",    "maf",   "--hidden",          "64,32",
                               "--activation", "gelu",  "--mixing",    "lu",    "--context-columns", "month",
                               "--steps",      "100",   "--optimizer", "adamw", "--alias",           "candidate",
                               "--data",       rows});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("power@4 published by training t1"), HasSubstr("-1.1250 +- 0.0200 nats")));
  ASSERT_EQ(server_.datasets.messages.size(), 1u);
  EXPECT_THAT(server_.datasets.messages[0].columns(), ElementsAre("a", "b", "month"));
  EXPECT_EQ(request_.dataset(), "d1");
  EXPECT_EQ(request_.preset().name(), "maf");
  EXPECT_THAT(request_.preset().hidden(), ElementsAre(64, 32));
  EXPECT_EQ(request_.preset().activation(), v1::GELU);
  EXPECT_EQ(request_.preset().mixing(), v1::Preset::LU);
  EXPECT_FALSE(request_.preset().has_transforms());
  EXPECT_THAT(request_.context_columns(), ElementsAre("month"));
  EXPECT_EQ(request_.options().steps(), 100u);
  EXPECT_EQ(request_.options().optimizer(), v1::TrainingOptions::ADAMW);
  EXPECT_EQ(request_.alias(), "candidate");
}

TEST_F(CtlTrainTest, ProgressIsLinesWithoutATerminal) {
  const Outcome outcome = Ctl({"train", "power", "--preset", "maf", "--dataset", "d1"});
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("step 51/100  41.2k rows/s"), HasSubstr("best 1.125"),
                                 HasSubstr("1m15s left"), Not(HasSubstr("\r")), Not(HasSubstr("step 52/100"))));
}

TEST_F(CtlTrainTest, ProgressIsABarOnATerminalThatNeverWraps) {
  for (int columns : {40, 80, 160}) {
    const std::string err = Ctl({"train", "power", "--preset", "maf", "--dataset", "d1"}, "", columns).err;
    EXPECT_THAT(err, HasSubstr("=] 100% "));
    std::istringstream updates(err.substr(err.find('\r')));
    for (std::string update; std::getline(updates, update, '\r');) {
      const size_t end = update.find("\x1b[K");
      if (end == std::string::npos) continue;
      EXPECT_LT(end, static_cast<size_t>(columns)) << update;
    }
  }
}

TEST_F(CtlTrainTest, AFailedTrainingIsExitCodeNineWithItsReason) {
  const Outcome outcome = Ctl({"train", "bad", "--preset", "maf", "--dataset", "d1"});
  EXPECT_EQ(outcome.code, 9);
  EXPECT_THAT(outcome.err, HasSubstr("training t1 failed: rows: column \"c\" is constant"));
}

TEST_F(CtlTrainTest, DetachOnlyStartsTheTraining) {
  const Outcome outcome = Ctl({"train", "power", "--preset", "maf", "--server-file", "rows.npy", "--detach"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "t1\n");
  EXPECT_EQ(request_.file(), "rows.npy");
}

TEST_F(CtlTrainTest, ASpecIsReadFromJsonAndItsErrorsAreNamed) {
  const std::string spec = Write("flow.json", R"({"layers": [{"full_affine": {}}]})");
  EXPECT_EQ(Ctl({"train", "power", "--spec", spec, "--dataset", "d1", "--detach"}).code, 0);
  EXPECT_TRUE(request_.spec().layers(0).has_full_affine());
  const Outcome unknown = Ctl({"train", "power", "--spec", "-", "--dataset", "d1"}, R"({"layers": [{"fancy": {}}]})");
  EXPECT_EQ(unknown.code, 3);
  EXPECT_THAT(unknown.err, HasSubstr("fancy"));
}

}  // namespace
}  // namespace densityd::ctl
