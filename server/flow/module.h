// LibTorch modules whose constants are recomputed from the spec instead of stored.
#pragma once

#include <vector>

#include "torch/nn/module.h"
#include "torch/types.h"

namespace densityd::flow {

using torch::Tensor;

/// A module that may hold constants: tensors that follow `to`, but are neither parameters nor buffers, so that no
/// stored model carries them. Masks and column indices are constants.
class Module : public torch::nn::Module {
 public:
  void to(torch::Device device, torch::Dtype dtype, bool non_blocking) override;
  void to(torch::Dtype dtype, bool non_blocking) override;
  void to(torch::Device device, bool non_blocking) override;
  // In place of the default arguments of the overridden functions.
  void to(torch::Device device, torch::Dtype dtype) { to(device, dtype, /*non_blocking=*/false); }
  void to(torch::Dtype dtype) { to(dtype, /*non_blocking=*/false); }
  void to(torch::Device device) { to(device, /*non_blocking=*/false); }

 protected:
  /// Returns a handle that follows the module's device and, where it is floating point, its dtype.
  Tensor RegisterConstant(Tensor constant);
  /// Returns a handle that follows the module's device only: numbers that are kept in float64.
  Tensor RegisterExactConstant(Tensor constant);

 private:
  std::vector<Tensor> constants_;
  std::vector<Tensor> exact_constants_;
};

}  // namespace densityd::flow
