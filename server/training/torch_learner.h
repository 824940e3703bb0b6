// Training of any flow by LibTorch's autograd.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "density/v1/training.pb.h"
#include "server/training/adam.h"
#include "server/training/flat_parameters.h"
#include "server/training/learner.h"
#include "server/training/row_tensors.h"
#include "server/training/selected_rows.h"

namespace densityd::training {

/// On the device of the flow and the rows.
class TorchLearner final : public Learner {
 public:
  /// `options` are resolved; what `train` and `validation` view must outlive this.
  TorchLearner(std::shared_ptr<flow::Flow> flow, RowTensors train, RowTensors validation,
               const density::v1::TrainingOptions& options);

  void Expect(absl::Span<const RowRange> rows) override;
  absl::StatusOr<std::optional<double>> Step(absl::Span<const int64_t> indices, const StepOptions& options) override;
  std::string FindNonfinite(absl::Span<const int64_t> indices) override;
  absl::StatusOr<std::vector<double>> Evaluate(absl::FunctionRef<bool()> is_cancelled) override;
  void KeepBest() override;
  void ReturnToBest() override;
  NamedTensors State() const override;
  std::shared_ptr<flow::Flow> TakeBest() override;

 private:
  RowTensors Batch(absl::Span<const int64_t> indices) const;
  absl::StatusOr<std::vector<double>> LogProb(absl::FunctionRef<bool()> is_cancelled);

  std::shared_ptr<flow::Flow> flow_;
  const RowTensors train_;
  const RowTensors validation_;
  RowsOnDisk on_disk_;  // train_, where it is no tensor of a device
  const double clip_norm_;
  FlatParameters parameters_;
  torch::Tensor values_;   // the weights that are stepped
  torch::Tensor average_;  // their moving average, or undefined
  torch::Tensor best_values_;
  Adam optimizer_;
};

}  // namespace densityd::training
