// Trainings through densityctl.
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/ctl_fixture.h"

namespace densityd::ctl {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

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
      training.mutable_report()->add_preprocessing("price: integer, log: every number is whole");
      writer.Write(training);
      return grpc::Status::OK;
    };
  }

  v1::TrainRequest request_;
};

TEST_F(CtlTrainTest, TrainUploadsTheFileAndFollowsTheTraining) {
  const std::string rows = Write("rows.csv", "a,b,month\n1,2,3\n4,5,6\n");
  const Outcome outcome =
      Ctl({"train",     "power",    "--preset",          "maf",       "--hidden", "64,32", "--activation", "gelu",
           "--mixing",  "lu",       "--context-columns", "month",     "--steps",  "100",   "--optimizer",  "adamw",
           "--trainer", "libtorch", "--alias",           "candidate", "--data",   rows});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("power@4 published by training t1"), HasSubstr("-1.1250 +- 0.0200 nats"),
                                 HasSubstr("column price: integer, log: every number is whole")));
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
  EXPECT_EQ(request_.options().trainer(), v1::TrainingOptions::LIBTORCH);
  EXPECT_EQ(request_.alias(), "candidate");
}

TEST_F(CtlTrainTest, TrainSaysHowColumnsArePreprocessed) {
  const std::string rows = Write("rows.csv", "a,b,month\n1,2,3\n4,5,6\n");
  const Outcome outcome =
      Ctl({"train", "power", "--preset", "maf", "--preprocess", "a=integer,log,0..", "--preprocess",
           "x=y=logit,-1.5..100", "--encode-context", "month=categorical,unknown,embedding:4", "--data", rows});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const auto& columns = request_.preset().preprocessing().columns();
  ASSERT_EQ(columns.size(), 2);
  EXPECT_EQ(columns[0].name(), "a");
  EXPECT_EQ(columns[0].kind(), v1::ColumnPreprocessing::INTEGER);
  EXPECT_EQ(columns[0].scaling(), v1::ColumnPreprocessing::LOG);
  EXPECT_EQ(columns[0].low(), 0);
  EXPECT_FALSE(columns[0].has_high());
  EXPECT_EQ(columns[1].name(), "x=y");
  EXPECT_EQ(columns[1].low(), -1.5);
  EXPECT_EQ(columns[1].high(), 100);
  const auto& context = request_.preset().context_encoding().columns(0);
  EXPECT_EQ(context.kind(), v1::ColumnPreprocessing::CATEGORICAL);
  EXPECT_TRUE(context.accept_unknown());
  EXPECT_EQ(context.embedding(), 4);
}

TEST_F(CtlTrainTest, TrainSaysWhatImageTheColumnsHold) {
  const std::string rows = Write("rows.csv", "a,b\n1,2\n4,5\n");
  EXPECT_EQ(Ctl({"train", "digits", "--preset", "glow", "--image", "3x32x16", "--levels", "3", "--data", rows}).code,
            0);
  EXPECT_EQ(request_.preset().image().channels(), 3u);
  EXPECT_EQ(request_.preset().image().height(), 32u);
  EXPECT_EQ(request_.preset().image().width(), 16u);
  EXPECT_EQ(request_.preset().levels(), 3u);
  for (const std::string image : {"32x16", "3x32x16x1", "3x32x-1", "3x32xa", "x"}) {
    const Outcome outcome = Ctl({"train", "digits", "--preset", "glow", "--image", image, "--data", rows});
    EXPECT_NE(outcome.code, 0) << image;
    EXPECT_THAT(outcome.err, HasSubstr("--image " + image));
  }
}

TEST_F(CtlTrainTest, PresetOptionsWithoutAFlagComeAsJsonAndFlagsWin) {
  const auto train = [this](const std::string& options) {
    return Ctl({"train", "power", "--preset", "nsf_ar", "--dataset", "d1", "--detach", "--hidden", "32,32",
                "--preset-options", options});
  };
  EXPECT_EQ(train(R"({"name": "maf", "bins": 16, "hidden": [8], "base": {"studentT": {}}, "actnorm": true})").code, 0);
  EXPECT_EQ(request_.preset().name(), "nsf_ar");
  EXPECT_EQ(request_.preset().bins(), 16u);
  EXPECT_THAT(request_.preset().hidden(), ElementsAre(32, 32));
  EXPECT_TRUE(request_.preset().base().has_student_t());
  EXPECT_TRUE(request_.preset().actnorm());
  EXPECT_EQ(train("@" + Write("options.json", R"({"bound": 5})")).code, 0);
  EXPECT_EQ(request_.preset().bound(), 5);
  const Outcome unknown = train(R"({"bin": 3})");
  EXPECT_EQ(unknown.code, 3);
  EXPECT_THAT(unknown.err, AllOf(HasSubstr("--preset-options: is no Preset"), HasSubstr("bin")));
}

TEST_F(CtlTrainTest, TrainLeavesThePreprocessingToTheServer) {
  const std::string rows = Write("rows.csv", "a,b\n1,2\n4,5\n");
  EXPECT_EQ(Ctl({"train", "power", "--preset", "maf", "--preprocess", "automatic", "--data", rows}).code, 0);
  EXPECT_TRUE(request_.preset().has_preprocessing());
  EXPECT_TRUE(request_.preset().preprocessing().columns().empty());
}

TEST_F(CtlTrainTest, TrainRefusesWordsThatItDoesNotKnow) {
  const std::string rows = Write("rows.csv", "a,b\n1,2\n4,5\n");
  for (const std::string value : {"a", "a=cubed", "a=..3", "=log"}) {
    const Outcome outcome = Ctl({"train", "power", "--preset", "maf", "--preprocess", value, "--data", rows});
    EXPECT_NE(outcome.code, 0) << value;
    EXPECT_THAT(outcome.err, HasSubstr("--preprocess " + value));
  }
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

TEST_F(CtlTrainTest, AWarmStartTakesThePlaceOfAFlowAndItsRunIsDescribed) {
  const Outcome outcome = Ctl({"train", "power", "--warm-start", "power@3", "--dataset", "d1", "--detach", "--priority",
                               "-7", "--max-memory", "2GiB", "--max-seconds", "90.5", "--checkpoint-interval", "5",
                               "--idempotency-key", "nightly"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(request_.warm_start(), "power@3");
  EXPECT_EQ(request_.flow_case(), v1::TrainRequest::FLOW_NOT_SET);
  EXPECT_EQ(request_.priority(), -7);
  EXPECT_EQ(request_.limits().memory_bytes(), uint64_t{2} << 30);
  EXPECT_EQ(request_.limits().seconds(), 90.5);
  EXPECT_EQ(request_.options().checkpoint_interval_seconds(), 5);
  EXPECT_EQ(request_.idempotency_key(), "nightly");
  EXPECT_EQ(Ctl({"train", "power", "--warm-start", "power@3", "--preset", "maf", "--dataset", "d1"}).code, 2);
}

TEST_F(CtlTrainTest, WhatIsUnusualAboutARunIsShown) {
  server_.trainings.watch = [](const v1::WatchTrainingRequest&, grpc::ServerWriter<v1::Training>& writer) {
    v1::Training training;
    training.set_revision(1);
    training.set_state(v1::RUNNING);
    training.set_resumes(2);
    training.set_stalled(true);
    training.mutable_progress()->set_nonfinite_in_a_row(4);
    writer.Write(training);
    training.set_revision(2);
    training.set_state(v1::QUEUED);
    training.set_interruption("the server was stopped at step 3 of 9");
    writer.Write(training);
    training.set_revision(3);
    training.set_state(v1::CANCELLED);
    writer.Write(training);
    return grpc::Status::OK;
  };
  EXPECT_THAT(Ctl({"watch", "t1"}).err, AllOf(HasSubstr("STALLED"), HasSubstr("NOT FINITE for 4 steps"),
                                              HasSubstr("interrupted: the server was stopped at step 3 of 9")));
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
