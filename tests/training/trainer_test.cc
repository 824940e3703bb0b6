#include "server/training/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "server/base/sha256.h"
#include "server/engine/philox.h"
#include "server/engine/weights.h"
#include "server/flow/spec.h"
#include "server/training/columns.h"
#include "server/training/options.h"
#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using density::v1::FlowSpec;
using density::v1::Preset;
using density::v1::TrainingOptions;
using density::v1::TrainingProgress;
using ::testing::HasSubstr;

// Rows x = f(noise), noise standard normal of `cols` numbers.
SourceData Rows(size_t rows, size_t cols, const std::function<void(double*)>& f) {
  Table table{rows, cols, {}, std::vector<double>(rows * cols)};
  engine::FillStandardNormal<double>(/*seed=*/17, 0, rows, cols, table.values.data());
  for (size_t row = 0; row < rows; ++row) f(&table.values[row * cols]);
  return testing::SourceOf(std::move(table));
}

// A bent ridge in other units; entropy log(2 pi e) + log(1000), since the maps are shears and one scaling.
void Banana(double* x) {
  x[1] = x[1] + x[0] * x[0];
  x[0] = 1000 * x[0] - 5e5;
}
const double kBananaEntropy = std::log(2 * std::numbers::pi * std::numbers::e) + std::log(1000);

struct Problem {
  FlowSpec spec;
  TrainingData data;
  TrainingOptions options;
};

Problem Prepare(const SourceData& source, const std::string& preset, const TrainingOptions& options,
                const std::vector<std::string>& context = {}) {
  density::v1::TrainRequest request;
  request.mutable_context_columns()->Assign(context.begin(), context.end());
  Preset message;
  message.set_name(preset);
  message.set_transforms(4);
  message.add_hidden(32);
  message.add_hidden(32);
  if (preset == "flow_matching" || preset == "ffjord") message.clear_transforms();
  if (preset == "affine") {
    message.clear_transforms();
    message.clear_hidden();
  }
  const ColumnSelection columns = SelectColumns(request, source.rows->cols(), {}).value();
  Problem problem;
  problem.data = PrepareData(source, columns, options, testing::Scratch()).value();
  problem.spec = flow::ExpandPreset(message, problem.data.features, problem.data.context_features).value();
  problem.options = ResolveOptions(options, problem.data.train.rows).value();
  return problem;
}

TrainerHooks Quiet() {
  return {[](const TrainingProgress&) {}, [] { return StopRequest::kNone; }};
}

absl::StatusOr<TrainedFlow> Train(const Problem& problem, const TrainerHooks& hooks = Quiet()) {
  return TrainFlow(problem.spec, problem.data, problem.options, torch::kCPU, hooks);
}

TrainingOptions Options(uint64_t steps, uint32_t batch) {
  TrainingOptions options;
  options.set_steps(steps);
  options.set_batch_size(batch);
  options.set_learning_rate(3e-3);
  return options;
}

TEST(TrainerTest, AnAffineFlowReachesTheEntropyOfAGaussian) {
  TrainingOptions options = Options(600, 512);
  options.set_learning_rate(2e-2);
  options.set_validation_fraction(0.5);
  const SourceData source = Rows(40'000, 2, [](double* x) {
    const double first = x[0];
    x[0] = 3 * first + 10;
    x[1] = 0.1 * x[1] - 0.2 * first;
  });
  const auto trained = Train(Prepare(source, "affine", options));
  ASSERT_TRUE(trained.ok()) << trained.status();
  const double entropy = std::log(2 * std::numbers::pi * std::numbers::e) + std::log(3 * 0.1);
  EXPECT_NEAR(trained->report.validation_log_likelihood(), -entropy, 0.05);
}

TEST(TrainerTest, CouplingAndAutoregressiveFlowsReachTheEntropyOfABentRidge) {
  for (const char* preset : {"realnvp", "maf"}) {
    TrainingOptions options = Options(700, 256);
    options.set_validation_fraction(0.4);
    const auto trained = Train(Prepare(Rows(30'000, 2, Banana), preset, options));
    ASSERT_TRUE(trained.ok()) << trained.status();
    EXPECT_NEAR(trained->report.validation_log_likelihood(), -kBananaEntropy, 0.05) << preset;
  }
}

TEST(TrainerTest, FlowMatchingIsValidatedByTheLikelihood) {
  TrainingOptions options = Options(2000, 512);
  options.set_validation_fraction(0.1);
  Problem problem = Prepare(Rows(20'000, 2, Banana), "flow_matching", options);
  const auto trained = Train(problem);
  ASSERT_TRUE(trained.ok()) << trained.status();
  const density::v1::TrainingReport& report = trained->report;
  EXPECT_NEAR(report.validation_log_likelihood(), -kBananaEntropy, 0.15);
  // What was minimised is another number, and smaller than that of no velocity at all: two columns, 1 + 1 each.
  const auto& last = report.curve(report.curve_size() - 1);
  EXPECT_NEAR(last.validation_nll(), kBananaEntropy, 0.15);
  EXPECT_LT(last.train_nll(), 4);
  EXPECT_GT(last.train_nll(), 0.1);
}

TEST(TrainerTest, AFlowWhoseRowsCannotBeSolvedIsNotPublished) {
  Problem problem = Prepare(Rows(400, 2, Banana), "ffjord", Options(3, 64));
  for (auto& layer : *problem.spec.mutable_layers()) {
    if (layer.has_continuous()) layer.mutable_continuous()->set_max_steps(1);
  }
  // Of one step: a velocity that starts at zero needs no more, and any other one does.
  const auto trained = Train(problem);
  EXPECT_EQ(trained.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(trained.status().message()), HasSubstr("no validation of the 3 steps"));
}

TEST(TrainerTest, ContextIsLearntFrom) {
  TrainingOptions options = Options(400, 256);
  options.set_validation_fraction(0.4);
  // Column 0 depends on column 1 in its mean and its scale; given it, its entropy is that of a normal plus log scale.
  double log_scale = 0;
  const SourceData source = Rows(20'000, 2, [&](double* x) {
    const double scale = std::exp(0.5 * std::sin(x[1]));
    x[0] = x[0] * scale + 2 * x[1];
    log_scale += std::log(scale) / 20'000;
  });
  const double entropy = 0.5 * std::log(2 * std::numbers::pi * std::numbers::e) + log_scale;
  const auto trained = Train(Prepare(source, "maf", options, {"1"}));
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_NEAR(trained->report.validation_log_likelihood(), -entropy, 0.05);
}

TEST(TrainerTest, TheSameSeedGivesTheSameBits) {
  TrainingOptions options = Options(40, 64);
  options.set_ema_decay(0.9);
  const auto weights = [&](uint64_t seed) {
    options.set_seed(seed);
    const auto trained = Train(Prepare(Rows(1000, 3, [](double*) {}), "maf", options));
    EXPECT_TRUE(trained.ok()) << trained.status();
    const std::vector<registry::Tensor> tensors = engine::FlowToTensors(*trained->flow).value();
    std::string bytes;
    for (const registry::Tensor& tensor : tensors) bytes += tensor.data;
    return Sha256Hex(bytes);
  };
  const std::string first = weights(5);
  EXPECT_EQ(first, weights(5));
  EXPECT_NE(first, weights(6));
}

TEST(TrainerTest, AnyNumberOfThreadsGivesTheSameBitsWhereStepsAreCompiled) {
  const auto weights = [&](uint32_t threads) {
    TrainingOptions options = Options(20, 200);
    options.set_threads(threads);
    const auto trained = Train(Prepare(Rows(1000, 3, [](double*) {}), "maf", options));
    EXPECT_TRUE(trained.ok()) << trained.status();
    EXPECT_EQ(trained->report.trainer(), "compiled");
    const std::vector<registry::Tensor> tensors = engine::FlowToTensors(*trained->flow).value();
    std::string bytes;
    for (const registry::Tensor& tensor : tensors) bytes += tensor.data;
    return Sha256Hex(bytes);
  };
  EXPECT_EQ(weights(1), weights(2));
}

TEST(TrainerTest, TheReportSaysWhatTookTheSteps) {
  const SourceData source = Rows(200, 2, Banana);
  Problem problem = Prepare(source, "maf", Options(3, 32));
  density::v1::TrainingReport report = Train(problem)->report;
  EXPECT_EQ(report.trainer(), "compiled");
  EXPECT_EQ(report.not_compiled_because(), "");
  problem.options.set_trainer(TrainingOptions::LIBTORCH);
  report = Train(problem)->report;
  EXPECT_EQ(report.trainer(), "libtorch");
  EXPECT_EQ(report.not_compiled_because(), "LibTorch was asked for");
  report = Train(Prepare(source, "iaf", Options(3, 32)))->report;
  EXPECT_EQ(report.trainer(), "libtorch");
  EXPECT_THAT(report.not_compiled_because(), HasSubstr("layers.1.parallel = SAMPLING"));
}

// From the same start on the same batches.
TEST(TrainerTest, CompiledStepsLearnAsLibTorchDoes) {
  const std::function<void(double*)> shapes[] = {Banana, [](double* x) { x[1] = std::sin(2 * x[0]) + 0.2 * x[1]; },
                                                 [](double* x) {
                                                   const double radius = 1 + 0.1 * x[0];
                                                   const double angle = 4 * x[1];
                                                   x[0] = radius * std::cos(angle);
                                                   x[1] = radius * std::sin(angle);
                                                 }};
  for (const auto& shape : shapes) {
    for (const char* preset : {"realnvp", "maf"}) {
      TrainingOptions options = Options(200, 256);
      options.set_optimizer(TrainingOptions::ADAMW);
      options.set_weight_decay(1e-2);
      options.set_ema_decay(0.9);
      options.set_warmup_steps(10);
      Problem problem = Prepare(Rows(5000, 2, shape), preset, options);
      const auto compiled = Train(problem);
      problem.options.set_trainer(TrainingOptions::LIBTORCH);
      const auto libtorch = Train(problem);
      ASSERT_TRUE(compiled.ok() && libtorch.ok());
      ASSERT_EQ(compiled->report.trainer(), "compiled");
      EXPECT_NEAR(compiled->report.validation_log_likelihood(), libtorch->report.validation_log_likelihood(),
                  libtorch->report.validation_standard_error())
          << preset;
      // Before rounding has driven them apart.
      EXPECT_NEAR(compiled->report.curve(0).train_nll(), libtorch->report.curve(0).train_nll(), 1e-3) << preset;
    }
  }
}

// Steps are compiled, validation is not.
TEST(TrainerTest, HeavyTailsAreLearntByCompiledStepsAsByLibTorch) {
  const SourceData source = Rows(5000, 2, [](double* x) {
    const double share = (x[0] * x[0] + x[1] * x[1]) / 3;
    x[0] *= std::sqrt(std::expm1(share) / share);  // Student's t with 3 degrees, by Bailey's method
    x[1] += 0.5 * x[0];
  });
  TrainingOptions options = Options(200, 256);
  Problem problem = Prepare(source, "affine", options);
  const auto normal = Train(problem);
  problem.spec.mutable_base()->mutable_student_t();
  problem.spec = flow::WithDefaults(problem.spec);
  const auto compiled = Train(problem);
  problem.options.set_trainer(TrainingOptions::LIBTORCH);
  const auto libtorch = Train(problem);
  ASSERT_TRUE(normal.ok() && compiled.ok() && libtorch.ok()) << compiled.status();
  ASSERT_EQ(compiled->report.trainer(), "compiled");
  const double reached = compiled->report.validation_log_likelihood();
  EXPECT_NEAR(reached, libtorch->report.validation_log_likelihood(), libtorch->report.validation_standard_error());
  EXPECT_GT(reached, normal->report.validation_log_likelihood() + 0.02);
}

TEST(TrainerTest, TheReportSaysWhatWasDone) {
  TrainingOptions options = Options(50, 64);
  options.set_validation_interval(20);
  const auto trained = Train(Prepare(Rows(1000, 2, Banana), "realnvp", options));
  ASSERT_TRUE(trained.ok()) << trained.status();
  const density::v1::TrainingReport& report = trained->report;
  EXPECT_EQ(report.train_rows(), 900);
  EXPECT_EQ(report.validation_rows(), 100);
  EXPECT_EQ(report.steps(), 50);
  EXPECT_EQ(report.curve_size(), 3);  // steps 20, 40 and the last
  EXPECT_EQ(report.curve(2).step(), 50);
  EXPECT_GT(report.seconds(), 0);
  EXPECT_GT(report.rows_per_second(), 0);
  EXPECT_GT(report.validation_standard_error(), 0);
  EXPECT_EQ(report.options().batch_size(), 64);
  EXPECT_EQ(report.parameters(), flow::CountParameters(trained->flow->spec()));
  EXPECT_EQ(trained->validation_log_prob.size(), 100);
}

TEST(TrainerTest, WhatIsReturnedIsTheBestValidatedFlow) {
  for (const double ema : {0.0, 0.95}) {
    // A rate that overshoots, so that the best step is not the last.
    TrainingOptions options = Options(60, 32);
    options.set_learning_rate(0.2);
    options.set_schedule(TrainingOptions::CONSTANT);
    options.set_validation_interval(1);
    options.set_ema_decay(ema);
    const Problem problem = Prepare(Rows(400, 2, Banana), "maf", options);
    const auto trained = Train(problem);
    ASSERT_TRUE(trained.ok()) << trained.status();
    double best = std::numeric_limits<double>::infinity();
    for (const auto& point : trained->report.curve()) best = std::min(best, point.validation_nll());
    EXPECT_DOUBLE_EQ(-trained->report.validation_log_likelihood(), best);
    const torch::NoGradGuard no_grad;
    const torch::Tensor x =
        torch::from_blob(const_cast<double*>(problem.data.validation.values.data()), {40, 2}, torch::kFloat64);
    const torch::Tensor log_prob = trained->flow->LogProb(x, torch::Tensor()).to(torch::kFloat64);
    EXPECT_NEAR(-log_prob.mean().item<double>(), best, 1e-5) << ema;
  }
}

TEST(TrainerTest, PatienceEndsATrainingThatNoLongerImproves) {
  TrainingOptions options = Options(100'000, 32);
  options.set_learning_rate(0.05);
  options.set_schedule(TrainingOptions::CONSTANT);
  options.set_validation_interval(5);
  options.set_patience(3);
  const auto trained = Train(Prepare(Rows(100, 2, Banana), "maf", options));
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_TRUE(trained->report.stopped_early());
  EXPECT_EQ(trained->report.steps(), trained->report.best_step() + 15);
}

TEST(TrainerTest, ProgressIsToldAtEveryValidationAndEndsAtTheLastStep) {
  TrainingOptions options = Options(30, 32);
  options.set_validation_interval(10);
  std::vector<TrainingProgress> told;
  TrainerHooks hooks = Quiet();
  hooks.on_progress = [&](const TrainingProgress& progress) { told.push_back(progress); };
  ASSERT_TRUE(Train(Prepare(Rows(400, 2, Banana), "realnvp", options), hooks).ok());
  std::vector<uint64_t> validated;
  for (const TrainingProgress& progress : told) {
    if (progress.step() % 10 == 0) validated.push_back(progress.step());
  }
  EXPECT_THAT(validated, ::testing::ElementsAre(10, 20, 30));
  EXPECT_TRUE(std::isfinite(told.back().best_validation_nll()));
  EXPECT_TRUE(std::isfinite(told.back().train_nll()));
}

TEST(TrainerTest, ATrainingStopsWhenAsked) {
  int steps_left = 5;
  TrainerHooks hooks = Quiet();
  hooks.stop = [&] { return steps_left-- == 0 ? StopRequest::kCancel : StopRequest::kNone; };
  EXPECT_TRUE(absl::IsCancelled(Train(Prepare(Rows(400, 2, Banana), "realnvp", Options(1000, 32)), hooks).status()));
}

// Rows that overflow float32 inside the flow: the loss is never finite.
TEST(TrainerTest, NumbersThatStayNonFiniteFailTheTrainingByStepAndPlace) {
  TrainingOptions options = Options(1000, 32);
  options.set_max_nonfinite_steps(3);
  Problem problem = Prepare(Rows(400, 2, [](double* x) { x[0] *= 1e30; }), "maf", options);
  // Without standardisation, 1e30 squared is infinite in float32.
  problem.spec.mutable_layers()->DeleteSubrange(0, 1);
  const absl::Status status = Train(problem).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("step 11: "));  // 3 skipped steps, 4 times
  EXPECT_THAT(std::string(status.message()), HasSubstr("density of the base distribution"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("options.learning_rate"));
}

// One row in 64 is infinitely unlikely: the steps that draw it are skipped, the others teach.
TEST(TrainerTest, NonFiniteStepsAreSkippedAndCounted) {
  TrainingOptions options = Options(64, 16);
  options.set_max_nonfinite_steps(1000);
  options.set_validation_interval(64);
  Problem problem = Prepare(Rows(1024, 2, [](double*) {}), "maf", options);
  problem.spec.mutable_layers()->DeleteSubrange(0, 1);
  std::vector<double> values(problem.data.train.values.begin(), problem.data.train.values.end());
  values[0] = 1e30;
  problem.data.train = testing::Selected(std::move(values), 2);
  const auto trained = Train(problem);
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_GE(trained->report.nonfinite_steps(), 1);
  EXPECT_LE(trained->report.nonfinite_steps(), 2);
  EXPECT_EQ(trained->report.steps(), 64);
  EXPECT_TRUE(std::isfinite(trained->report.validation_log_likelihood()));
}

TEST(TrainerTest, AFlowIsNeverReturnedWithoutAFiniteValidation) {
  TrainingOptions options = Options(5, 16);
  options.set_max_nonfinite_steps(1000);
  Problem problem = Prepare(Rows(400, 2, [](double*) {}), "affine", options);
  problem.spec.mutable_layers()->DeleteSubrange(0, 1);
  std::vector<double> values(problem.data.validation.values.begin(), problem.data.validation.values.end());
  values[0] = 1e30;
  problem.data.validation = testing::Selected(std::move(values), 2);
  EXPECT_EQ(Train(problem).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(TrainerTest, WithoutStandardisationAndWithActNormItTrainsToo) {
  TrainingOptions options = Options(300, 256);
  options.set_validation_fraction(0.4);
  const SourceData source = Rows(20'000, 2, [](double* x) {
    x[0] = 5 * x[0] + 40;
    x[1] = x[1] * 0.2 - 3;
  });
  Problem problem = Prepare(source, "realnvp", options);
  Preset preset;
  preset.set_name("realnvp");
  preset.set_transforms(4);
  preset.add_hidden(16);
  preset.set_actnorm(true);
  preset.set_no_standardize(true);
  problem.spec = flow::ExpandPreset(preset, 2, 0).value();
  const auto trained = Train(problem);
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_NEAR(trained->report.validation_log_likelihood(), -std::log(2 * std::numbers::pi * std::numbers::e), 0.05);
}

}  // namespace
}  // namespace densityd::training
