// Training of a flow by a compiled step.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "density/v1/training.pb.h"
#include "server/engine/train/train_plan.h"
#include "server/registry/tensor.h"
#include "server/training/learner.h"
#include "server/training/ranks.h"
#include "server/training/selected_rows.h"
#include "server/training/training_data.h"

namespace densityd::training {

/// On the CPU, in float32.
class CompiledLearner final : public Learner {
 public:
  /// Of `flow`, which is in float32, on rows that must outlive it; `options` are resolved. With `ranks`, which
  /// must outlive it, a step takes this rank's part of its rows, and an evaluation too. UNIMPLEMENTED, naming the
  /// layer, where the training of its spec is not compiled; RESOURCE_EXHAUSTED where memory, or the disk of the data's
  /// scratch space, is short.
  static absl::StatusOr<std::unique_ptr<CompiledLearner>> Create(std::shared_ptr<flow::Flow> flow,
                                                                 const TrainingData& data,
                                                                 const density::v1::TrainingOptions& options,
                                                                 Ranks* ranks = nullptr);

  void Expect(absl::Span<const RowRange> rows) override;
  absl::StatusOr<std::optional<double>> Step(absl::Span<const int64_t> indices, const StepOptions& options) override;
  std::string FindNonfinite(absl::Span<const int64_t> indices) override;
  absl::StatusOr<std::vector<double>> Evaluate(absl::FunctionRef<bool()> is_cancelled) override;
  void KeepBest() override;
  void ReturnToBest() override;
  NamedTensors State() const override;
  std::shared_ptr<flow::Flow> TakeBest() override;

 private:
  CompiledLearner(std::shared_ptr<flow::Flow> flow, const TrainingData& data,
                  const density::v1::TrainingOptions& options, Ranks* ranks,
                  std::unique_ptr<engine::train::TrainPlan> plan);

  // Makes of this rank's share of a gradient that of all.
  absl::StatusOr<engine::train::LossAndNorm> SumOverRanks(double loss);
  // log p of the validation rows [begin, end).
  absl::StatusOr<std::vector<double>> LogProb(size_t begin, size_t end, absl::FunctionRef<bool()> is_cancelled);
  // What every rank has computed; UNAVAILABLE where one is gone.
  absl::StatusOr<std::vector<double>> GatherLogProb(absl::StatusOr<std::vector<double>> own);
  // Takes the train rows through the layers that learn nothing.
  absl::Status EncodeRows();
  // All tensors of the flow, with the parameters `values` and what is not learnt.
  std::vector<registry::Tensor> TensorsOf(const torch::Tensor& values) const;
  const torch::Tensor& evaluated() const { return average_.defined() ? average_ : values_; }

  std::shared_ptr<flow::Flow> flow_;
  const TrainingData& data_;
  const density::v1::TrainingOptions options_;
  Ranks* const ranks_;  // null: this process is alone
  std::unique_ptr<engine::train::TrainPlan> plan_;
  std::unique_ptr<ScratchNumbers<float>> rows_;        // (train rows, D + C), encoded
  std::unique_ptr<ScratchNumbers<double>> fixed_log_;  // (train rows): log|det| of the layers that learn nothing
  RowsOnDisk rows_on_disk_;
  RowsOnDisk fixed_log_on_disk_;

  // (layout().size()) each.
  torch::Tensor values_;
  torch::Tensor average_;  // or undefined
  torch::Tensor best_values_;
  torch::Tensor first_moment_;
  torch::Tensor second_moment_;
  torch::Tensor steps_;  // () int64: since the optimiser began
};

}  // namespace densityd::training
