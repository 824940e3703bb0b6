// Adam on one vector of parameters.
#pragma once

#include <utility>
#include <vector>

#include "density/v1/training.pb.h"
#include "torch/types.h"

namespace densityd::training {

/// Adam (Kingma and Ba, ICLR 2015; beta 0.9 and 0.999, epsilon 1e-8), with weight decay added to the gradient, or AdamW
/// (Loshchilov and Hutter, ICLR 2019), with decoupled decay. Not thread-safe.
class Adam {
 public:
  /// `values` (P) are changed in place by Step.
  Adam(torch::Tensor values, const density::v1::TrainingOptions& options);

  /// One step along `gradients` (P).
  void Step(const torch::Tensor& gradients, double learning_rate);
  /// Forgets the moments, as before the first step.
  void Reset();

  /// What it remembers: the moments (P) and the number of steps (), for a checkpoint. Written to, it goes on from
  /// there.
  std::vector<std::pair<const char*, torch::Tensor>> state() const;

 private:
  torch::Tensor values_;
  torch::Tensor first_moment_;
  torch::Tensor second_moment_;
  torch::Tensor steps_;
  double weight_decay_;
  bool decoupled_;
};

}  // namespace densityd::training
