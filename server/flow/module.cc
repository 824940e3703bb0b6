#include "server/flow/module.h"

#include <utility>

namespace densityd::flow {
namespace {

void MoveToDtype(std::vector<Tensor>& constants, torch::Dtype dtype) {
  for (Tensor& constant : constants) {
    if (constant.is_floating_point()) constant.set_data(constant.to(dtype));
  }
}

void MoveToDevice(std::vector<Tensor>& constants, torch::Device device) {
  for (Tensor& constant : constants) constant.set_data(constant.to(device));
}

}  // namespace

void Module::to(torch::Device device, torch::Dtype dtype, bool non_blocking) {
  torch::nn::Module::to(device, dtype, non_blocking);
  MoveToDevice(constants_, device);
  MoveToDevice(exact_constants_, device);
  MoveToDtype(constants_, dtype);
}

void Module::to(torch::Dtype dtype, bool non_blocking) {
  torch::nn::Module::to(dtype, non_blocking);
  MoveToDtype(constants_, dtype);
}

void Module::to(torch::Device device, bool non_blocking) {
  torch::nn::Module::to(device, non_blocking);
  MoveToDevice(constants_, device);
  MoveToDevice(exact_constants_, device);
}

Tensor Module::RegisterConstant(Tensor constant) { return constants_.emplace_back(std::move(constant)); }

Tensor Module::RegisterExactConstant(Tensor constant) { return exact_constants_.emplace_back(std::move(constant)); }

}  // namespace densityd::flow
