#include "server/training/torch_learner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "server/base/logging.h"
#include "server/flow/activated_linear.h"
#include "server/flow/row_error.h"
#include "server/flow/row_shape.h"
#include "server/training/nonfinite.h"

namespace densityd::training {
namespace {

constexpr int64_t kValidationChunk = 4096;

std::shared_ptr<flow::Flow> Prepared(std::shared_ptr<flow::Flow> flow) {
  flow::PrepareForTraining(*flow);
  flow->train();
  return flow;
}

}  // namespace

TorchLearner::TorchLearner(std::shared_ptr<flow::Flow> flow, RowTensors train, RowTensors validation,
                           const density::v1::TrainingOptions& options)
    : flow_(Prepared(std::move(flow))),
      train_(std::move(train)),
      validation_(std::move(validation)),
      clip_norm_(options.clip_norm()),
      parameters_(*flow_),
      values_(parameters_.values()),
      best_values_(values_.clone()),
      optimizer_(values_, options) {
  if (options.ema_decay() > 0) average_ = values_.clone();
  if (!train_.x.device().is_cpu()) return;
  on_disk_ = RowsOnDisk(train_.x.const_data_ptr(), static_cast<size_t>(train_.rows()),
                        static_cast<size_t>(train_.x.stride(0)) * train_.x.element_size());
}

RowTensors TorchLearner::Batch(absl::Span<const int64_t> indices) const {
  return ForTraining(train_.Select(indices), flow_->spec());
}

void TorchLearner::Expect(absl::Span<const RowRange> rows) { on_disk_.Expect(rows); }

absl::StatusOr<std::optional<double>> TorchLearner::Step(absl::Span<const int64_t> indices,
                                                         const StepOptions& options) {
  const RowTensors batch = Batch(indices);
  const torch::Tensor& gradients = parameters_.gradients();
  gradients.zero_();
  const torch::Tensor loss = flow_->TrainingLoss(batch.x, batch.context).mean();
  loss.backward();
  const torch::Tensor norm_tensor = gradients.norm();
  const double loss_value = loss.item<double>();
  const double norm = norm_tensor.item<double>();
  if (!std::isfinite(loss_value) || !std::isfinite(norm)) return std::optional<double>();
  if (clip_norm_ > 0 && norm > clip_norm_) gradients.mul_(clip_norm_ / norm);
  optimizer_.Step(gradients, options.rate);
  if (average_.defined()) {
    const torch::NoGradGuard no_grad;
    average_.lerp_(values_, options.average_share);
  }
  return std::optional<double>(loss_value);
}

std::string TorchLearner::FindNonfinite(absl::Span<const int64_t> indices) {
  return training::FindNonfinite(*flow_, parameters_, Batch(indices));
}

absl::StatusOr<std::vector<double>> TorchLearner::Evaluate(absl::FunctionRef<bool()> is_cancelled) {
  const torch::NoGradGuard no_grad;
  torch::Tensor stepped;
  if (average_.defined()) {
    stepped = values_.clone();
    values_.copy_(average_);
  }
  flow_->eval();
  absl::StatusOr<std::vector<double>> log_prob = LogProb(is_cancelled);
  flow_->train();
  if (average_.defined()) values_.copy_(stepped);
  return log_prob;
}

absl::StatusOr<std::vector<double>> TorchLearner::LogProb(absl::FunctionRef<bool()> is_cancelled) {
  std::vector<double> log_prob;
  log_prob.reserve(validation_.rows());
  const int64_t chunk_rows = flow::RowsAtOnce(flow_->spec(), kValidationChunk);
  for (int64_t begin = 0; begin < validation_.rows(); begin += chunk_rows) {
    if (is_cancelled()) return TrainingCancelled();
    const RowTensors chunk =
        ForTraining(validation_.Slice(begin, std::min(chunk_rows, validation_.rows() - begin)), flow_->spec());
    torch::Tensor numbers;
    try {
      numbers = flow_->LogProb(chunk.x, chunk.context).to(torch::kCPU, torch::kFloat64).contiguous();
    } catch (const flow::RowError& error) {
      // These weights are no good; others may be. A version is published only where every row has a density.
      Log(LogLevel::kWarning, "a validation counts as not finite",
          {{"validation_row", begin + error.row()}, {"error", error.what()}});
      return std::vector<double>{std::numeric_limits<double>::quiet_NaN()};
    }
    log_prob.insert(log_prob.end(), numbers.const_data_ptr<double>(),
                    numbers.const_data_ptr<double>() + numbers.numel());
  }
  return log_prob;
}

void TorchLearner::KeepBest() {
  const torch::NoGradGuard no_grad;
  best_values_.copy_(average_.defined() ? average_ : values_);
}

void TorchLearner::ReturnToBest() {
  const torch::NoGradGuard no_grad;
  values_.copy_(best_values_);
  if (average_.defined()) average_.copy_(best_values_);
  optimizer_.Reset();
}

NamedTensors TorchLearner::State() const {
  NamedTensors tensors = {{"values", values_}, {"best_values", best_values_}};
  if (average_.defined()) tensors.emplace_back("average", average_);
  for (const auto& [name, tensor] : optimizer_.state()) tensors.emplace_back(name, tensor);
  for (const auto& buffer : flow_->named_buffers()) tensors.emplace_back("buffer." + buffer.key(), buffer.value());
  return tensors;
}

std::shared_ptr<flow::Flow> TorchLearner::TakeBest() {
  {
    const torch::NoGradGuard no_grad;
    values_.copy_(best_values_);
  }
  flow_->eval();
  return std::move(flow_);
}

}  // namespace densityd::training
