#include "server/engine/reference_plan.h"

#include <sys/resource.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "c10/core/InferenceMode.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/compile.h"
#include "server/engine/philox.h"
#include "server/flow/chain_order.h"
#include "server/flow/preset_names.h"
#include "server/flow/spec.h"
#include "tests/engine/flow_fixture.h"

namespace densityd::engine {
namespace {

using torch::Tensor;

constexpr uint32_t kFeatures = 5;

/// Numbers of one request in memory that begins at an odd address.
class Block {
 public:
  Block(size_t rows, size_t cols, NumberType type)
      : rows_(rows), cols_(cols), type_(type), bytes_(rows * cols * NumberBytes(type) + 1) {}

  ConstMatrix view() const { return {data(), type_, rows_, cols_}; }
  MutableMatrix mutable_view() { return {bytes_.data() + 1, type_, rows_, cols_}; }

  double Get(size_t i) const {
    if (type_ == NumberType::kFloat32) return Read<float>(i);
    return Read<double>(i);
  }
  void Set(size_t i, double value) {
    if (type_ == NumberType::kFloat32) return Write(i, static_cast<float>(value));
    Write(i, value);
  }
  /// (rows, cols), float64.
  Tensor tensor() const {
    Tensor numbers = torch::empty({static_cast<int64_t>(rows_), static_cast<int64_t>(cols_)}, torch::kFloat64);
    for (size_t i = 0; i < rows_ * cols_; ++i) numbers.data_ptr<double>()[i] = Get(i);
    return numbers;
  }

 private:
  const char* data() const { return bytes_.data() + 1; }
  template <typename Number>
  double Read(size_t i) const {
    Number number;
    std::memcpy(&number, data() + i * sizeof(Number), sizeof(Number));
    return number;
  }
  template <typename Number>
  void Write(size_t i, Number number) {
    std::memcpy(bytes_.data() + 1 + i * sizeof(Number), &number, sizeof(Number));
  }

  size_t rows_, cols_;
  NumberType type_;
  std::vector<char> bytes_;
};

/// A request of a flow with random numbers of its support, types and shapes.
struct Request {
  Request(std::mt19937_64& random, Op op, size_t rows, const density::v1::FlowSpec& spec)
      : input(rows, spec.features(), RandomType(random)),
        context(random() % 2 == 0 ? 1 : rows, spec.context_features(), RandomType(random)),
        output(rows, spec.features(), RandomType(random)),
        log(rows, 1, RandomType(random)) {
    const size_t context_features = spec.context_features();
    const auto& parts = spec.base().product().groups();
    const bool circles = !parts.empty() && parts[0].base().has_uniform_box();
    std::normal_distribution<double> normal;
    for (size_t i = 0; i < rows * spec.features(); ++i) {
      const double number = 1.5 * normal(random);
      input.Set(i, circles ? 3.14 * std::sin(number) : number);
    }
    for (size_t i = 0; i < context.view().rows * context_features; ++i) context.Set(i, normal(random));
    span.rows = rows;
    if (op != Op::kSample) span.input = input.view();
    if (op == Op::kSample) span.seed = random();
    if (op == Op::kSample) span.first_row = random();
    if (context_features > 0) span.context = context.view();
    if (op != Op::kLogProb) span.output = output.mutable_view();
    wants_log = op != Op::kSample || random() % 2 == 0;
    if (wants_log) span.log = log.mutable_view();
  }
  static NumberType RandomType(std::mt19937_64& random) {
    return random() % 2 == 0 ? NumberType::kFloat32 : NumberType::kFloat64;
  }

  Block input, context, output, log;
  RowSpan span;
  bool wants_log = true;
};

/// What the flow itself answers, in float64.
flow::Mapped Direct(const StoredFlow& stored, Op op, const Request& request) {
  torch::NoGradGuard no_grad;
  const int64_t rows = static_cast<int64_t>(request.span.rows);
  const Tensor context =
      stored.spec.context_features() > 0 ? request.context.tensor().expand({rows, -1}).contiguous() : Tensor();
  if (op == Op::kLogProb) return {Tensor(), stored.flow->LogProb(request.input.tensor(), context)};
  if (op == Op::kInverse) return stored.flow->Inverse(request.input.tensor(), context);
  if (op == Op::kForward) return stored.flow->Forward(request.input.tensor(), context);
  const int64_t columns = flow::NoiseColumns(stored.spec.base(), stored.spec.features());
  Tensor normal = torch::empty({rows, columns}, torch::kFloat64);
  FillStandardNormal(request.span.seed, request.span.first_row, request.span.rows, static_cast<size_t>(columns),
                     normal.data_ptr<double>());
  const flow::Mapped x = stored.flow->Forward(stored.flow->BaseFromNoise(normal, context), context);
  return {x.value, stored.flow->LogProb(x.value, context)};
}

/// |a - b| <= tolerance * max(1, |b|), element by element. `block` may hold float32.
void ExpectClose(const Block& block, const Tensor& expected, double tolerance) {
  const Tensor flat = expected.contiguous().view({-1});
  ASSERT_EQ(block.view().rows * block.view().cols, static_cast<size_t>(flat.numel()));
  if (block.view().type == NumberType::kFloat32) tolerance = std::max(tolerance, 1e-7);
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const double value = flat.data_ptr<double>()[i];
    ASSERT_NEAR(block.Get(static_cast<size_t>(i)), value, tolerance * std::max(1.0, std::abs(value)))
        << "element " << i;
  }
}

std::unique_ptr<Plan> Compile(const StoredFlow& stored, NumberType precision) {
  auto plan = CompileReferencePlan(stored.spec, stored.tensors, {.device = "cpu", .precision = precision});
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *std::move(plan);
}

/// Name of the preset, and how many columns of context.
class EveryPreset : public testing::TestWithParam<std::tuple<std::string, uint32_t>> {
 protected:
  EveryPreset() {
    const density::v1::Preset preset = SmallPreset(std::get<0>(GetParam()));
    const auto& image = preset.image();
    features = preset.has_image() ? image.channels() * image.height() * image.width() : kFeatures;
    stored = MakeStoredFlow(preset, features, std::get<1>(GetParam()), 11);
  }

  /// The context of each row of `request`, or nothing.
  Tensor ContextOf(const Request& request) const {
    if (stored.spec.context_features() == 0) return {};
    return request.context.tensor().expand({static_cast<int64_t>(request.span.rows), -1}).contiguous();
  }

  uint32_t features;
  StoredFlow stored;
};

TEST_P(EveryPreset, AnswersAsTheFlowItselfForAnyMixOfRequests) {
  std::mt19937_64 random(5);
  Workspace workspace;
  for (const NumberType precision : {NumberType::kFloat64, NumberType::kFloat32}) {
    const auto plan = Compile(stored, precision);
    const double tolerance = precision == NumberType::kFloat64 ? 1e-10 : 2e-4;
    for (const Op op : {Op::kLogProb, Op::kInverse, Op::kForward, Op::kSample}) {
      for (int repeat = 0; repeat < 3; ++repeat) {
        std::vector<std::unique_ptr<Request>> requests;
        std::vector<RowSpan> spans;
        for (size_t i = 0; i <= random() % 5; ++i) {
          // Up to 300 rows in all.
          const size_t rows = random() % 3 == 0 ? 1 : 1 + random() % 60;
          requests.push_back(std::make_unique<Request>(random, op, rows, stored.spec));
          spans.push_back(requests.back()->span);
        }
        ASSERT_EQ(plan->Run(op, spans, workspace), absl::OkStatus());
        for (const auto& request : requests) {
          const flow::Mapped expected = Direct(stored, op, *request);
          if (op != Op::kLogProb) ExpectClose(request->output, expected.value, tolerance);
          if (request->wants_log) ExpectClose(request->log, expected.log_abs_det, tolerance);
        }
      }
    }
  }
}

TEST_P(EveryPreset, SamplesDoNotDependOnHowTheirRowsAreCut) {
  const auto plan = Compile(stored, NumberType::kFloat64);
  Workspace workspace;
  std::mt19937_64 random(3);
  Request whole(random, Op::kSample, 300, stored.spec);
  whole.output = Block(300, features, NumberType::kFloat64);
  whole.span.output = whole.output.mutable_view();
  whole.span.log = {};
  ASSERT_TRUE(plan->Run(Op::kSample, {&whole.span, 1}, workspace).ok());
  Block parts(300, features, NumberType::kFloat64);
  RowSpan cut = whole.span;
  cut.output = parts.mutable_view();
  for (size_t begin = 0; begin < 300;) {
    const size_t rows = std::min<size_t>(1 + random() % 60, 300 - begin);
    const RowSpan part = Slice(cut, begin, rows);
    ASSERT_TRUE(plan->Run(Op::kSample, {&part, 1}, workspace).ok());
    begin += rows;
  }
  ExpectClose(parts, whole.output.tensor(), 1e-11);
}

std::vector<std::string> PresetsAndBases() {
  std::vector<std::string> names = flow::PresetNames();
  names.insert(names.end(), {"student_t_base", "mixture_base", "product_base"});
  return names;
}

INSTANTIATE_TEST_SUITE_P(Presets, EveryPreset,
                         testing::Combine(testing::ValuesIn(PresetsAndBases()), testing::Values(0, 3)),
                         [](const auto& info) {
                           return std::get<0>(info.param) + (std::get<1>(info.param) > 0 ? "_given_context" : "");
                         });

TEST(ReferencePlan, Float32KeepsTheSmallDifferencesOfColumnsWithLargeMeans) {
  StoredFlow stored = MakeStoredFlow(SmallPreset("realnvp"), kFeatures, 0, 4);
  auto& standardize = *stored.spec.mutable_layers(0)->mutable_standardize();
  for (int column = 0; column < 5; ++column) standardize.set_mean(column, 1.7e9);
  const auto float32 = Compile(stored, NumberType::kFloat32);
  const auto float64 = Compile(stored, NumberType::kFloat64);
  Block rows(20, kFeatures, NumberType::kFloat64);
  for (size_t i = 0; i < 100; ++i) rows.Set(i, 1.7e9 + StandardNormal(1, i, 0));
  Block exact(20, 1, NumberType::kFloat64);
  Block rounded(20, 1, NumberType::kFloat64);
  Workspace workspace;
  RowSpan span;
  span.rows = 20;
  span.input = rows.view();
  span.log = exact.mutable_view();
  ASSERT_TRUE(float64->Run(Op::kLogProb, {&span, 1}, workspace).ok());
  span.log = rounded.mutable_view();
  ASSERT_TRUE(float32->Run(Op::kLogProb, {&span, 1}, workspace).ok());
  ExpectClose(rounded, exact.tensor(), 1e-4);
}

TEST(ReferencePlan, ThreadsShareOnePlan) {
  const StoredFlow stored = MakeStoredFlow(SmallPreset("maf"), kFeatures, 0, 4);
  const auto plan = Compile(stored, NumberType::kFloat64);
  std::vector<Block> outputs(4, Block(64, kFeatures, NumberType::kFloat64));
  std::vector<std::thread> threads;
  for (Block& output : outputs) {
    threads.emplace_back([&plan, &output] {
      Workspace workspace;
      RowSpan span;
      span.rows = 64;
      span.seed = 9;
      span.output = output.mutable_view();
      for (int i = 0; i < 20; ++i) EXPECT_TRUE(plan->Run(Op::kSample, {&span, 1}, workspace).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Block& output : outputs) ExpectClose(output, outputs[0].tensor(), 0);
}

TEST(ReferencePlan, TellsItsShapeAndAnUpperBoundOfItsMemory) {
  const StoredFlow stored = MakeStoredFlow(SmallPreset("maf"), kFeatures, 3, 4);
  size_t stored_bytes = 0;
  for (const registry::Tensor& tensor : stored.tensors) stored_bytes += tensor.data.size();
  const auto float64 = Compile(stored, NumberType::kFloat64);
  const auto float32 = Compile(stored, NumberType::kFloat32);
  EXPECT_EQ(float64->info().kind, "reference-cpu");
  EXPECT_EQ(float64->info().features, kFeatures);
  EXPECT_EQ(float64->info().context_features, 3u);
  EXPECT_EQ(float64->info().precision, NumberType::kFloat64);
  EXPECT_GE(float64->info().bytes, 2 * stored_bytes);
  EXPECT_GE(float32->info().bytes, stored_bytes);
  EXPECT_FALSE(float64->info().rows_are_independent);
}

TEST(ReferencePlan, CountsTheWorkOfConvolutionsByTheirPixelsAndTakesFewerRowsAtOnce) {
  density::v1::Preset preset;
  preset.set_name("glow");
  preset.set_transforms(1);
  preset.set_levels(1);
  preset.set_no_standardize(true);
  preset.add_hidden(64);
  preset.set_residual_blocks(1);
  preset.mutable_image()->set_channels(1);
  preset.mutable_image()->set_height(32);
  preset.mutable_image()->set_width(32);
  const StoredFlow stored = MakeStoredFlow(preset, 1024, 0, 4);
  const auto plan = CompilePlan(stored.spec, stored.tensors, CompileOptions{});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ((*plan)->info().kind, "reference-cpu");
  EXPECT_EQ((*plan)->info().not_compiled_because, "layers[0].squeeze has no compiled form");
  EXPECT_EQ((*plan)->info().tile_rows, (1u << 22) / (64 * 256));
  const PlanDescription description = (*plan)->Describe(Op::kLogProb);
  ASSERT_EQ(description.layers.size(), 4u);
  EXPECT_EQ(description.layers[0].kind, "squeeze");
  EXPECT_EQ(description.layers[2].kind, "invertible_convolution");
  EXPECT_EQ(description.layers[2].multiply_adds, 16u * 256);
  const uint64_t weights = 9 * 2 * 64 + (9 + 1) * 64 * 64 + 9 * 64 * 2 * 2;
  EXPECT_EQ(description.layers[3].multiply_adds, weights * 256);
}

TEST(ReferencePlan, ARunOfNoRowsIsOk) {
  const auto plan = Compile(MakeStoredFlow(SmallPreset("nice"), kFeatures, 0, 4), NumberType::kFloat32);
  Workspace workspace;
  EXPECT_TRUE(plan->Run(Op::kLogProb, {}, workspace).ok());
}

TEST(ReferencePlan, MoreRowsThanATileAreAnErrorAndNoOverflow) {
  const auto plan = Compile(MakeStoredFlow(SmallPreset("nice"), kFeatures, 0, 4), NumberType::kFloat32);
  Workspace workspace;
  RowSpan span;
  span.rows = plan->info().tile_rows + 1;
  EXPECT_EQ(plan->Run(Op::kSample, {&span, 1}, workspace).code(), absl::StatusCode::kInternal);
}

TEST_P(EveryPreset, ScoresAreTheSlopesOfTheDensity) {
  const auto plan = Compile(stored, NumberType::kFloat64);
  ASSERT_TRUE(plan->info().scores);
  std::mt19937_64 random(6);
  constexpr size_t kRows = 7;
  Request request(random, Op::kScore, kRows, stored.spec);
  request.output = Block(kRows, features, NumberType::kFloat64);
  request.span.output = request.output.mutable_view();
  Workspace workspace;
  ASSERT_TRUE(plan->Run(Op::kScore, {&request.span, 1}, workspace).ok());
  const Tensor x = request.input.tensor();
  const Tensor context = ContextOf(request);
  {
    torch::NoGradGuard no_grad;
    ExpectClose(request.log, stored.flow->LogProb(x, context), 1e-9);
    // By finite differences: log p of the flow itself, to both sides of each column.
    constexpr double kStep = 1e-5;
    Tensor slopes = torch::empty_like(x);
    for (int64_t column = 0; column < static_cast<int64_t>(features); ++column) {
      Tensor step = torch::zeros_like(x);
      step.select(1, column).fill_(kStep);
      const Tensor difference = stored.flow->LogProb(x + step, context) - stored.flow->LogProb(x - step, context);
      slopes.select(1, column).copy_(difference / (2 * kStep));
    }
    ExpectClose(request.output, slopes, 1e-5);
  }
  // And by the flow's own gradient, which has rounding alone.
  const Tensor input = x.clone().requires_grad_();
  stored.flow->LogProb(input, context).sum().backward();
  ExpectClose(request.output, input.grad(), 1e-9);

  const auto float32 = Compile(stored, NumberType::kFloat32);
  ASSERT_TRUE(float32->Run(Op::kScore, {&request.span, 1}, workspace).ok());
  ExpectClose(request.output, input.grad(), 5e-3);
}

TEST_P(EveryPreset, DensitiesComeColumnByColumnWhereThereIsAnOrder) {
  const auto plan = Compile(stored, NumberType::kFloat64);
  EXPECT_EQ(plan->info().has_chain_order, flow::ChainOrderOf(stored.spec).exists());
  EXPECT_EQ(plan->info().runs(Op::kLogProbByColumn), plan->info().has_chain_order);
  if (!plan->info().has_chain_order) return;
  std::mt19937_64 random(6);
  constexpr size_t kRows = 7;
  Request request(random, Op::kLogProbByColumn, kRows, stored.spec);
  request.output = Block(kRows, features, NumberType::kFloat64);
  request.span.output = request.output.mutable_view();
  Workspace workspace;
  ASSERT_TRUE(plan->Run(Op::kLogProbByColumn, {&request.span, 1}, workspace).ok());
  const Tensor context = ContextOf(request);
  const torch::NoGradGuard no_grad;
  ExpectClose(request.log, stored.flow->LogProb(request.input.tensor(), context), 1e-9);
  ExpectClose(request.output, stored.flow->LogProbByColumn(request.input.tensor(), context), 1e-9);
}

TEST(ReferencePlan, AnEstimateSaysHowFarItMayBeOff) {
  const density::v1::Preset preset = SmallPreset("residual");
  const StoredFlow few = MakeStoredFlow(preset, kFeatures, 0, 4);
  EXPECT_FALSE(Compile(few, NumberType::kFloat64)->info().is_estimate);
  constexpr size_t kMany = 20;
  constexpr size_t kRows = 5;
  const StoredFlow stored = MakeStoredFlow(preset, kMany, 0, 4);
  stored.flow->eval();
  const auto plan = Compile(stored, NumberType::kFloat64);
  ASSERT_TRUE(plan->info().is_estimate);
  Block rows(kRows, kMany, NumberType::kFloat64);
  for (size_t i = 0; i < kRows * kMany; ++i) rows.Set(i, std::sin(static_cast<double>(i)));
  Block error(kRows, OutputColumns(Op::kLogProbWithError, kMany), NumberType::kFloat64);
  Block log(kRows, 1, NumberType::kFloat64);
  RowSpan span;
  span.rows = kRows;
  span.input = rows.view();
  span.output = error.mutable_view();
  span.log = log.mutable_view();
  Workspace workspace;
  ASSERT_TRUE(plan->Run(Op::kLogProbWithError, {&span, 1}, workspace).ok());
  const torch::NoGradGuard no_grad;
  const flow::Mapped expected = stored.flow->LogProbWithError(rows.tensor(), Tensor());
  ExpectClose(log, stored.flow->LogProb(rows.tensor(), Tensor()), 1e-9);
  ExpectClose(error, expected.value, 1e-9);
  for (size_t row = 0; row < kRows; ++row) EXPECT_GT(error.Get(row), 0);
}

TEST(ReferencePlan, TheScoreIsZeroWhereTheDensityIs) {
  density::v1::Preset preset;
  preset.set_name("affine");
  preset.set_no_standardize(true);
  preset.mutable_base()->mutable_uniform_box();
  const StoredFlow stored = MakeStoredFlow(preset, 2, 0, 4);
  const auto plan = Compile(stored, NumberType::kFloat64);
  Block rows(2, 2, NumberType::kFloat64);
  for (size_t i = 0; i < 2; ++i) rows.Set(i, 1e6);
  const Tensor inside = stored.flow->Forward(torch::full({1, 2}, 0.5, torch::kFloat64), Tensor()).value.detach();
  for (size_t i = 0; i < 2; ++i) rows.Set(2 + i, inside[0][static_cast<int64_t>(i)].item<double>());
  Block score(2, 2, NumberType::kFloat64);
  Block log(2, 1, NumberType::kFloat64);
  for (size_t i = 0; i < 4; ++i) score.Set(i, 7);
  RowSpan span;
  span.rows = 2;
  span.input = rows.view();
  span.output = score.mutable_view();
  span.log = log.mutable_view();
  Workspace workspace;
  ASSERT_TRUE(plan->Run(Op::kScore, {&span, 1}, workspace).ok());
  EXPECT_EQ(log.Get(0), -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isfinite(log.Get(1)));
  // Uniform: flat inside, and nothing outside.
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(score.Get(i), 0) << i;
}

TEST(ReferencePlan, ARowThatASolverGivesUpOnIsNamedByItsPlaceInItsRequest) {
  StoredFlow stored = MakeStoredFlow(SmallPreset("ffjord"), kFeatures, 0, 4);
  for (auto& layer : *stored.spec.mutable_layers()) {
    if (layer.has_continuous()) layer.mutable_continuous()->set_max_steps(2);
  }
  const auto plan = Compile(stored, NumberType::kFloat64);
  Workspace workspace;
  Block rows(8, kFeatures, NumberType::kFloat64);
  Block log(8, 1, NumberType::kFloat64);
  RowSpan span;
  span.rows = 8;
  span.input = rows.view();
  span.log = log.mutable_view();
  const RowSpan spans[] = {Slice(span, 5, 3), Slice(span, 0, 2)};
  const absl::Status status = plan->Run(Op::kLogProb, spans, workspace);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), testing::StartsWith("rows: row 5: a continuous layer does not come to"));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("max_steps = 2"));
  EXPECT_FALSE(plan->Run(Op::kSample, spans, workspace).ok());
}

TEST(ReferencePlan, RowsWithoutALimitGiveDensitiesWithoutNan) {
  const auto plan = Compile(MakeStoredFlow(SmallPreset("realnvp"), kFeatures, 0, 4), NumberType::kFloat32);
  Workspace workspace;
  const double extremes[] = {0, 1e-30, -1e-30, 1e6, -1e6, std::numeric_limits<float>::denorm_min()};
  Block rows(6, kFeatures, NumberType::kFloat32);
  Block log(6, 1, NumberType::kFloat32);
  for (size_t i = 0; i < 30; ++i) rows.Set(i, extremes[(i * 7) % 6]);
  RowSpan span;
  span.rows = 6;
  span.input = rows.view();
  span.log = log.mutable_view();
  ASSERT_TRUE(plan->Run(Op::kLogProb, {&span, 1}, workspace).ok());
  for (size_t i = 0; i < 6; ++i) EXPECT_FALSE(std::isnan(log.Get(i)));
}

TEST(CompilePlan, SaysWhichTensorDoesNotFitTheSpec) {
  StoredFlow stored = MakeStoredFlow(SmallPreset("maf"), kFeatures, 0, 4);
  stored.tensors.pop_back();
  const auto plan = CompilePlan(stored.spec, stored.tensors, {});
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(plan.status().message()), testing::HasSubstr("is missing"));
}

TEST(CompilePlan, RefusesASpecThatIsNotValid) {
  StoredFlow stored = MakeStoredFlow(SmallPreset("maf"), kFeatures, 0, 4);
  stored.spec.mutable_layers(1)->mutable_autoregressive()->add_columns(77);
  EXPECT_EQ(CompilePlan(stored.spec, stored.tensors, {}).status().code(), absl::StatusCode::kInvalidArgument);
  stored.spec.clear_layers();
  EXPECT_EQ(CompilePlan(stored.spec, stored.tensors, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ResolveDevice, KnowsTheDevicesAndNothingElse) {
  EXPECT_EQ(*ResolveDevice("cpu"), "cpu");
  EXPECT_THAT(*ResolveDevice("auto"), testing::AnyOf("cpu", "cuda:0"));
  EXPECT_EQ(ResolveDevice("cuda:9999").status().code(), absl::StatusCode::kFailedPrecondition);
  for (const char* flag : {"", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:+1", "cuda: 1", "cuda:1x", "cuda0", "cpu:0",
                           "cuda:99999999999999999999"}) {
    EXPECT_EQ(ResolveDevice(flag).status().code(), absl::StatusCode::kInvalidArgument) << flag;
  }
}

// A small file may describe a flow of gigabytes: it is looked at before memory is taken for what it lacks.
TEST(ReferencePlanTest, WeightsThatAreNotThereTakeNoMemory) {
  density::v1::Preset preset;
  preset.set_name("realnvp");
  preset.set_transforms(5);
  preset.add_hidden(8192);
  preset.add_hidden(8192);
  const density::v1::FlowSpec spec = flow::ExpandPreset(preset, 2, 0).value();
  ASSERT_GT(flow::CountParameters(spec), uint64_t{1} << 28);
  rusage before = {};
  rusage after = {};
  getrusage(RUSAGE_SELF, &before);
  for (const NumberType precision : {NumberType::kFloat32, NumberType::kFloat64}) {
    CompileOptions options;
    options.precision = precision;
    options.choice = PlanChoice::kReference;
    const absl::Status status = CompilePlan(spec, {}, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("is missing"));
  }
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 << 10) << "KiB";
}

}  // namespace
}  // namespace densityd::engine
