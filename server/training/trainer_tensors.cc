#include "server/training/trainer_tensors.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>

#include "ATen/Context.h"
#include "server/base/errors.h"

namespace densityd::training {
namespace {

using registry::DType;

constexpr char kFile[] = "checkpoint";
constexpr std::pair<DType, torch::ScalarType> kTypes[] = {{DType::kF32, torch::kFloat32},
                                                          {DType::kF64, torch::kFloat64},
                                                          {DType::kI64, torch::kInt64},
                                                          {DType::kU8, torch::kUInt8}};

DType StoredType(torch::ScalarType type) {
  for (const auto& [stored, own] : kTypes) {
    if (own == type) return stored;
  }
  return DType::kU8;  // booleans
}

torch::ScalarType OwnType(DType type) {
  for (const auto& [stored, own] : kTypes) {
    if (stored == type) return own;
  }
  return torch::kUInt8;
}

std::vector<torch::Device> GeneratorDevices(torch::Device device) {
  std::vector<torch::Device> devices = {torch::Device(torch::kCPU)};
  if (device != devices[0]) devices.push_back(device);
  return devices;
}

std::string GeneratorName(torch::Device device) { return "generator." + device.str(); }

}  // namespace

std::vector<registry::Tensor> StoreTensors(const NamedTensors& tensors) {
  std::vector<registry::Tensor> all;
  for (const auto& [name, tensor] : tensors) {
    registry::Tensor stored;
    stored.name = name;
    stored.dtype = StoredType(tensor.scalar_type());
    const torch::Tensor host = tensor.detach().to(torch::kCPU, OwnType(stored.dtype)).contiguous();
    stored.shape.assign(host.sizes().begin(), host.sizes().end());
    stored.data.assign(static_cast<const char*>(host.const_data_ptr()), host.nbytes());
    all.push_back(std::move(stored));
  }
  return all;
}

absl::StatusOr<torch::Tensor> RestoreTensor(absl::Span<const registry::Tensor> stored, const std::string& name) {
  const auto found =
      std::find_if(stored.begin(), stored.end(), [&](const registry::Tensor& tensor) { return tensor.name == name; });
  if (found == stored.end()) return DataLoss(kFile, name, "is missing");
  torch::Tensor tensor = torch::empty(found->shape, torch::TensorOptions().dtype(OwnType(found->dtype)));
  if (tensor.nbytes() != found->data.size()) return DataLoss(kFile, name, "has not the size of its shape");
  if (!found->data.empty()) std::memcpy(tensor.mutable_data_ptr(), found->data.data(), found->data.size());
  return tensor;
}

absl::Status RestoreTensors(absl::Span<const registry::Tensor> stored, const NamedTensors& targets) {
  const torch::NoGradGuard no_grad;
  for (const auto& [name, target] : targets) {
    absl::StatusOr<torch::Tensor> tensor = RestoreTensor(stored, name);
    if (!tensor.ok()) return tensor.status();
    if (tensor->sizes() != target.sizes() || StoredType(target.scalar_type()) != StoredType(tensor->scalar_type())) {
      return DataLoss(kFile, name, "is of another flow: it has another shape or type");
    }
    target.copy_(*tensor);
  }
  return absl::OkStatus();
}

NamedTensors GeneratorStates(torch::Device device) {
  NamedTensors states;
  for (const torch::Device& of : GeneratorDevices(device)) {
    at::Generator generator = at::globalContext().defaultGenerator(of);
    const std::lock_guard<std::mutex> lock(generator.mutex());
    states.emplace_back(GeneratorName(of), generator.get_state());
  }
  return states;
}

absl::Status RestoreGenerators(absl::Span<const registry::Tensor> stored, torch::Device device) {
  for (const torch::Device& of : GeneratorDevices(device)) {
    absl::StatusOr<torch::Tensor> state = RestoreTensor(stored, GeneratorName(of));
    if (!state.ok()) return state.status();
    at::Generator generator = at::globalContext().defaultGenerator(of);
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(*state);
  }
  return absl::OkStatus();
}

}  // namespace densityd::training
