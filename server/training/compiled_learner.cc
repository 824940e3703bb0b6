#include "server/training/compiled_learner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/sha256.h"
#include "server/engine/cpu/cpu_plan.h"
#include "server/engine/reference_plan.h"
#include "server/engine/weights.h"
#include "server/flow/transform.h"
#include "server/training/nonfinite.h"
#include "server/training/row_tensors.h"

namespace densityd::training {
namespace {

using density::v1::TrainingOptions;
using engine::train::AdamStep;
using engine::train::Layout;
using engine::train::TrainPlan;

// Rows that go through LibTorch, or a plan, between two looks whether to stop.
constexpr size_t kRowsAtOnce = 4096;

// The position of the first number that is not finite, or `count`.
size_t FirstNonfinite(const float* numbers, size_t count) {
  return static_cast<size_t>(std::find_if_not(numbers, numbers + count, [](float x) { return std::isfinite(x); }) -
                             numbers);
}

// Step number `steps` of Adam, on a gradient of norm `norm`.
AdamStep MakeStep(const TrainingOptions& options, const StepOptions& of_step, int64_t steps, double norm) {
  const auto count = static_cast<double>(steps);
  AdamStep step;
  if (options.clip_norm() > 0 && norm > options.clip_norm()) {
    step.gradient_factor = static_cast<float>(options.clip_norm() / norm);
  }
  step.rate = static_cast<float>(of_step.rate / (1 - std::pow(engine::train::kBeta1, count)));
  step.root_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(engine::train::kBeta2, count)));
  if (options.optimizer() == TrainingOptions::ADAMW) {
    step.decay_factor = static_cast<float>(1 - of_step.rate * options.weight_decay());
  } else {
    step.added_decay = static_cast<float>(options.weight_decay());
  }
  step.average_share = static_cast<float>(of_step.average_share);
  return step;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CompiledLearner>> CompiledLearner::Create(std::shared_ptr<flow::Flow> flow,
                                                                         const TrainingData& data,
                                                                         const TrainingOptions& options, Ranks* ranks) {
  const uint64_t batch = options.batch_size();
  const uint64_t own_rows =
      ranks == nullptr ? batch : ranks->Begin(batch, ranks->rank() + 1) - ranks->Begin(batch, ranks->rank());
  absl::StatusOr<std::unique_ptr<TrainPlan>> plan = TrainPlan::Compile(flow->spec(), own_rows, options.threads());
  if (!plan.ok()) return plan.status();
  absl::StatusOr<std::vector<registry::Tensor>> tensors = engine::FlowToTensors(*flow);
  if (!tensors.ok()) return tensors.status();
  auto learner =
      std::unique_ptr<CompiledLearner>(new CompiledLearner(std::move(flow), data, options, ranks, *std::move(plan)));
  const Layout& layout = learner->plan_->layout();
  if (absl::Status status = layout.Load(*tensors, learner->values_.data_ptr<float>()); !status.ok()) {
    return status;
  }
  learner->best_values_ = learner->values_.clone();
  if (options.ema_decay() > 0) learner->average_ = learner->values_.clone();
  if (absl::Status status = learner->EncodeRows(); !status.ok()) return status;
  return learner;
}

CompiledLearner::CompiledLearner(std::shared_ptr<flow::Flow> flow, const TrainingData& data,
                                 const TrainingOptions& options, Ranks* ranks, std::unique_ptr<TrainPlan> plan)
    : flow_(std::move(flow)), data_(data), options_(options), ranks_(ranks), plan_(std::move(plan)) {
  flow_->eval();
  const auto size = static_cast<int64_t>(plan_->layout().size());
  values_ = torch::zeros({size});
  first_moment_ = torch::zeros({size});
  second_moment_ = torch::zeros({size});
  steps_ = torch::zeros({}, torch::kInt64);
}

absl::Status CompiledLearner::EncodeRows() {
  const torch::NoGradGuard no_grad;
  absl::StatusOr<std::unique_ptr<ScratchNumbers<float>>> encoded = ScratchNumbers<float>::Create(data_.scratch);
  if (!encoded.ok()) return encoded.status();
  absl::StatusOr<std::unique_ptr<ScratchNumbers<double>>> logs = ScratchNumbers<double>::Create(data_.scratch);
  if (!logs.ok()) return logs.status();
  const auto layers = flow_->named_children()["layers"]->children();
  const RowTensors train = ToDoubleTensors(data_.train, data_.features, torch::kCPU);
  for (int64_t begin = 0; begin < train.rows(); begin += kRowsAtOnce) {
    const RowTensors rows = train.Slice(begin, std::min<int64_t>(kRowsAtOnce, train.rows() - begin));
    const RowTensors given = ForTraining(rows, flow_->spec());
    torch::Tensor numbers = given.x;
    torch::Tensor log = torch::zeros({rows.rows()}, torch::kFloat64);
    for (int i = 0; i < plan_->fixed_layers(); ++i) {
      const flow::Mapped mapped = dynamic_cast<flow::Transform&>(*layers[i]).Inverse(numbers, torch::Tensor());
      numbers = mapped.value;
      log = log + mapped.log_abs_det;
    }
    const torch::Tensor context = flow_->PrepareContext(given.context);
    if (context.defined()) numbers = torch::cat({numbers.to(torch::kFloat32), context.to(torch::kFloat32)}, 1);
    numbers = numbers.to(torch::kFloat32).contiguous();
    log = log.contiguous();
    absl::Status status = (*encoded)->Append({numbers.const_data_ptr<float>(), static_cast<size_t>(numbers.numel())});
    if (status.ok()) status = (*logs)->Append({log.const_data_ptr<double>(), static_cast<size_t>(log.numel())});
    if (!status.ok()) return status;
  }
  rows_ = *std::move(encoded);
  fixed_log_ = *std::move(logs);
  if (absl::Status status = rows_->Finish(); !status.ok()) return status;
  if (absl::Status status = fixed_log_->Finish(); !status.ok()) return status;
  rows_on_disk_ = RowsOnDisk(rows_->numbers().data(), data_.train.rows, plan_->row_numbers() * sizeof(float));
  fixed_log_on_disk_ = RowsOnDisk(fixed_log_->numbers().data(), data_.train.rows, sizeof(double));
  return absl::OkStatus();
}

void CompiledLearner::Expect(absl::Span<const RowRange> rows) {
  rows_on_disk_.Expect(rows);
  fixed_log_on_disk_.Expect(rows);
}

absl::StatusOr<std::optional<double>> CompiledLearner::Step(absl::Span<const int64_t> indices,
                                                            const StepOptions& options) {
  const size_t begin = ranks_ == nullptr ? 0 : ranks_->Begin(indices.size(), ranks_->rank());
  const size_t end = ranks_ == nullptr ? indices.size() : ranks_->Begin(indices.size(), ranks_->rank() + 1);
  const engine::train::Batch batch = {.rows = rows_->numbers().data(),
                                      .row_step = plan_->row_numbers(),
                                      .indices = indices.subspan(begin, end - begin),
                                      .seed = options_.seed(),
                                      .number = options.number,
                                      .whole_rows = indices.size(),
                                      .first_place = begin};
  engine::train::LossAndNorm result = plan_->ComputeGradient(values_.const_data_ptr<float>(), batch);
  double fixed_log = 0;
  for (const int64_t index : batch.indices) fixed_log += fixed_log_->numbers()[static_cast<size_t>(index)];
  result.loss -= fixed_log / static_cast<double>(indices.size());
  if (ranks_ != nullptr) {
    const absl::StatusOr<engine::train::LossAndNorm> of_all = SumOverRanks(result.loss);
    if (!of_all.ok()) return of_all.status();
    result = *of_all;
  }
  const double loss = result.loss;
  if (!std::isfinite(loss) || !std::isfinite(result.norm)) return std::optional<double>();
  steps_ += 1;
  plan_->TakeStep(MakeStep(options_, options, steps_.item<int64_t>(), result.norm),
                  {0, nullptr, values_.data_ptr<float>(), first_moment_.data_ptr<float>(),
                   second_moment_.data_ptr<float>(), average_.defined() ? average_.data_ptr<float>() : nullptr});
  return std::optional<double>(loss);
}

absl::StatusOr<engine::train::LossAndNorm> CompiledLearner::SumOverRanks(double loss) {
  // Without what masks keep at zero.
  std::vector<absl::Span<float>> learnt;
  for (const engine::train::Range& range : plan_->layout().ranges()) {
    learnt.emplace_back(plan_->mutable_gradient() + range.begin, range.count);
  }
  const absl::StatusOr<std::vector<double>> losses = ranks_->Sum(learnt, loss);
  if (!losses.ok()) return losses.status();
  return engine::train::LossAndNorm{std::accumulate(losses->begin(), losses->end(), 0.0), plan_->GradientNorm()};
}

std::string CompiledLearner::FindNonfinite(absl::Span<const int64_t> indices) {
  const Layout& layout = plan_->layout();
  const size_t parameter = FirstNonfinite(values_.const_data_ptr<float>(), layout.size());
  if (parameter < layout.size()) return absl::StrCat("parameter ", layout.TensorAt(parameter));
  // LibTorch looks at one layer after the other.
  if (!engine::LoadWeights(*flow_, TensorsOf(values_)).ok()) return "the parameters";
  const RowTensors rows = ToDoubleTensors(data_.train, data_.features, torch::kCPU).Select(indices);
  if (std::string place = FindNonfiniteOutput(*flow_, ForTraining(rows, flow_->spec())); !place.empty()) return place;
  const size_t gradient = FirstNonfinite(plan_->gradient(), layout.size());
  return gradient < layout.size() ? absl::StrCat("gradient of ", layout.TensorAt(gradient)) : "the loss";
}

std::vector<registry::Tensor> CompiledLearner::TensorsOf(const torch::Tensor& values) const {
  std::vector<registry::Tensor> tensors = plan_->layout().Store(values.const_data_ptr<float>());
  const size_t learnt = tensors.size();
  absl::StatusOr<std::vector<registry::Tensor>> of_flow = engine::FlowToTensors(*flow_);
  if (!of_flow.ok()) return tensors;  // whoever needs the others says that they are missing
  for (registry::Tensor& tensor : *of_flow) {
    const bool is_learnt = std::any_of(tensors.begin(), tensors.begin() + static_cast<std::ptrdiff_t>(learnt),
                                       [&](const registry::Tensor& one) { return one.name == tensor.name; });
    if (!is_learnt) tensors.push_back(std::move(tensor));
  }
  return tensors;
}

absl::StatusOr<std::vector<double>> CompiledLearner::Evaluate(absl::FunctionRef<bool()> is_cancelled) {
  const torch::Tensor& values = evaluated();
  if (FirstNonfinite(values.const_data_ptr<float>(), plan_->layout().size()) < plan_->layout().size()) {
    return std::vector<double>{std::numeric_limits<double>::quiet_NaN()};
  }
  const size_t rows = data_.validation.rows;
  if (ranks_ == nullptr) return LogProb(0, rows, is_cancelled);
  return GatherLogProb(
      LogProb(ranks_->Begin(rows, ranks_->rank()), ranks_->Begin(rows, ranks_->rank() + 1), [] { return false; }));
}

absl::StatusOr<std::vector<double>> CompiledLearner::GatherLogProb(absl::StatusOr<std::vector<double>> own) {
  if (!own.ok()) return own;
  // Processors of different kinds may round differently; then the ranks' weights would come apart unseen.
  const std::string digest = Sha256Hex(
      {reinterpret_cast<const char*>(values_.const_data_ptr<float>()), plan_->layout().size() * sizeof(float)});
  const absl::StatusOr<std::vector<std::string>> digests = ranks_->Gather(digest);
  if (!digests.ok()) return digests.status();
  for (size_t rank = 0; rank < digests->size(); ++rank) {
    if ((*digests)[rank] == (*digests)[0]) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "the weights of rank ", rank, " are not those of rank 0 any more: train on processors of one kind"));
  }
  const absl::StatusOr<std::vector<std::string>> parts =
      ranks_->Gather({reinterpret_cast<const char*>(own->data()), own->size() * sizeof(double)});
  if (!parts.ok()) return parts.status();
  std::vector<double> log_prob(data_.validation.rows);
  char* next = reinterpret_cast<char*>(log_prob.data());
  for (const std::string& part : *parts) next = std::copy(part.begin(), part.end(), next);
  return log_prob;
}

absl::StatusOr<std::vector<double>> CompiledLearner::LogProb(size_t begin, size_t end,
                                                             absl::FunctionRef<bool()> is_cancelled) {
  const std::vector<registry::Tensor> tensors = TensorsOf(evaluated());
  absl::StatusOr<std::unique_ptr<engine::Plan>> plan = engine::cpu::CompileCpuPlan(flow_->spec(), tensors);
  if (absl::IsUnimplemented(plan.status())) plan = engine::CompileReferencePlan(flow_->spec(), tensors, {});
  if (!plan.ok()) return plan.status();
  engine::Workspace workspace;
  std::vector<double> log_prob(end - begin);
  const size_t columns = data_.features + data_.context_features;
  std::vector<double> features;
  std::vector<double> context;
  for (size_t done = 0; done < log_prob.size(); done += (*plan)->info().tile_rows) {
    if (done % kRowsAtOnce == 0 && is_cancelled()) return TrainingCancelled();
    const size_t rows = std::min((*plan)->info().tile_rows, log_prob.size() - done);
    features.clear();
    context.clear();
    for (size_t row = begin + done; row < begin + done + rows; ++row) {
      const double* numbers = data_.validation.values.data() + row * columns;
      features.insert(features.end(), numbers, numbers + data_.features);
      context.insert(context.end(), numbers + data_.features, numbers + columns);
    }
    engine::RowSpan span;
    span.rows = rows;
    span.input = {features.data(), NumberType::kFloat64, rows, data_.features};
    if (!context.empty()) span.context = {context.data(), NumberType::kFloat64, rows, data_.context_features};
    span.log = {log_prob.data() + done, NumberType::kFloat64, rows, 1};
    if (absl::Status status = (*plan)->Run(engine::Op::kLogProb, {&span, 1}, workspace); !status.ok()) return status;
  }
  return log_prob;
}

void CompiledLearner::KeepBest() { best_values_.copy_(evaluated()); }

void CompiledLearner::ReturnToBest() {
  values_.copy_(best_values_);
  if (average_.defined()) average_.copy_(best_values_);
  first_moment_.zero_();
  second_moment_.zero_();
  steps_.zero_();
}

NamedTensors CompiledLearner::State() const {
  NamedTensors tensors = {{"values", values_},
                          {"best_values", best_values_},
                          {"first_moment", first_moment_},
                          {"second_moment", second_moment_},
                          {"steps", steps_}};
  if (average_.defined()) tensors.emplace_back("average", average_);
  for (const auto& buffer : flow_->named_buffers()) tensors.emplace_back("buffer." + buffer.key(), buffer.value());
  return tensors;
}

std::shared_ptr<flow::Flow> CompiledLearner::TakeBest() {
  const absl::Status status = engine::LoadWeights(*flow_, TensorsOf(best_values_));
  // They were evaluated, so they are finite, and they are of this flow.
  if (!status.ok()) return nullptr;
  return std::move(flow_);
}

}  // namespace densityd::training
