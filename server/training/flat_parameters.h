// All parameters of a module as one vector, so that a norm, an optimiser step or a copy of all weights is one
// operation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "torch/nn/module.h"
#include "torch/types.h"

namespace densityd::training {

/// Moves a module's parameters, and their gradients, into one vector each; the module sees views of them and goes on
/// working. Not thread-safe; must not outlive the module.
class FlatParameters {
 public:
  /// Precondition: all parameters have one dtype and device.
  explicit FlatParameters(torch::nn::Module& module);

  /// All values (P'), P' >= P: each parameter begins at a multiple of 64 bytes, and what lies between is 0.
  const torch::Tensor& values() const { return values_; }
  /// All gradients (P'). backward() adds to them: set them to 0 before each step.
  const torch::Tensor& gradients() const { return gradients_; }

  /// Name of the first parameter that holds a non-finite number in `vector` (P'), which is laid out as values(); empty
  /// where there is none.
  std::string FirstNonfinite(const torch::Tensor& vector) const;

 private:
  struct Range {
    std::string name;
    int64_t begin;
    int64_t count;
  };

  std::vector<Range> ranges_;
  torch::Tensor values_;
  torch::Tensor gradients_;
};

}  // namespace densityd::training
