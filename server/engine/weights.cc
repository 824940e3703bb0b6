#include "server/engine/weights.h"

#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/errors.h"
#include "server/engine/exceptions.h"
#include "torch/nn/module.h"
#include "torch/types.h"

namespace densityd::engine {
namespace {

using registry::DType;
using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

constexpr std::string_view kFile = "weights.safetensors";

NamedTensors ParametersAndBuffers(const torch::nn::Module& flow) {
  NamedTensors all;
  for (const auto& item : flow.named_parameters()) all.emplace_back(item.key(), item.value());
  for (const auto& item : flow.named_buffers()) all.emplace_back(item.key(), item.value());
  return all;
}

const char* DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "float32";
    case DType::kF64:
      return "float64";
    case DType::kI64:
      return "int64";
    case DType::kU8:
      return "uint8";
  }
  return "unknown";
}

torch::ScalarType ScalarTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return torch::kFloat32;
    case DType::kF64:
      return torch::kFloat64;
    case DType::kI64:
      return torch::kInt64;
    case DType::kU8:
      return torch::kUInt8;
  }
  return torch::kUInt8;
}

/// How a tensor of the module is stored. INTERNAL for types that no flow uses.
absl::StatusOr<DType> StoredType(std::string_view name, torch::ScalarType type) {
  if (type == torch::kFloat32) return DType::kF32;
  if (type == torch::kFloat64) return DType::kF64;
  if (type == torch::kInt64 || type == torch::kInt32) return DType::kI64;
  if (type == torch::kUInt8 || type == torch::kBool) return DType::kU8;
  return InternalError(std::string(name) + ": tensors of type " + torch::toString(type) + " cannot be stored");
}

bool IsFloating(DType dtype) { return dtype == DType::kF32 || dtype == DType::kF64; }

std::string ShapeString(absl::Span<const int64_t> shape) { return absl::StrCat("(", absl::StrJoin(shape, ", "), ")"); }

absl::Span<const int64_t> ShapeOf(const torch::Tensor& tensor) {
  return absl::MakeConstSpan(tensor.sizes().data(), tensor.sizes().size());
}

absl::Status Damaged(const registry::Tensor& tensor, std::string_view message) {
  return DataLoss(kFile, tensor.name, message);
}

/// The stored numbers as a LibTorch tensor of their own type. Precondition: the sizes were checked.
torch::Tensor CopyOf(const registry::Tensor& tensor) {
  // Not from_blob: the stored bytes may lie unaligned.
  torch::Tensor copy = torch::empty(tensor.shape, torch::TensorOptions().dtype(ScalarTypeOf(tensor.dtype)));
  if (!tensor.data.empty()) std::memcpy(copy.data_ptr(), tensor.data.data(), tensor.data.size());
  return copy;
}

absl::StatusOr<torch::Tensor> CheckedTensor(const registry::Tensor& tensor, const torch::Tensor& target) {
  const absl::StatusOr<DType> wanted = StoredType(tensor.name, target.scalar_type());
  if (!wanted.ok()) return wanted.status();
  if (tensor.dtype != *wanted && !(IsFloating(tensor.dtype) && IsFloating(*wanted))) {
    return Damaged(
        tensor, std::string("has numbers of type ") + DTypeName(tensor.dtype) + "; the flow has " + DTypeName(*wanted));
  }
  if (absl::MakeConstSpan(tensor.shape) != ShapeOf(target)) {
    return Damaged(
        tensor, absl::StrCat("has shape ", ShapeString(tensor.shape), "; the flow has ", ShapeString(ShapeOf(target))));
  }
  const size_t bytes = static_cast<size_t>(target.numel()) * torch::elementSize(ScalarTypeOf(tensor.dtype));
  if (tensor.data.size() != bytes) {
    return Damaged(tensor, absl::StrCat("holds ", tensor.data.size(), " bytes; its shape needs ", bytes));
  }
  torch::Tensor copy = CopyOf(tensor);
  if (IsFloating(tensor.dtype) && !torch::isfinite(copy).all().item<bool>()) {
    return Damaged(tensor, "holds a number that is not finite");
  }
  return copy;
}

/// The stored tensors by name. DATA_LOSS where a name occurs twice.
absl::StatusOr<absl::flat_hash_map<std::string, const registry::Tensor*>> ByName(
    absl::Span<const registry::Tensor> tensors) {
  absl::flat_hash_map<std::string, const registry::Tensor*> by_name;
  for (const registry::Tensor& tensor : tensors) {
    if (!by_name.emplace(tensor.name, &tensor).second) return Damaged(tensor, "occurs twice");
  }
  return by_name;
}

absl::StatusOr<registry::Tensor> ToStored(const std::string& name, const torch::Tensor& tensor) {
  const absl::StatusOr<DType> dtype = StoredType(name, tensor.scalar_type());
  if (!dtype.ok()) return dtype.status();
  const torch::Tensor host = tensor.detach().to(torch::kCPU, ScalarTypeOf(*dtype)).contiguous();
  if (IsFloating(*dtype) && !torch::isfinite(host).all().item<bool>()) {
    return InvalidArgument(name, "holds a number that is not finite");
  }
  registry::Tensor stored;
  stored.name = name;
  stored.dtype = *dtype;
  stored.shape.assign(host.sizes().begin(), host.sizes().end());
  stored.data.assign(static_cast<const char*>(host.data_ptr()), host.nbytes());
  return stored;
}

absl::Status LoadChecked(torch::nn::Module& flow, absl::Span<const registry::Tensor> tensors) {
  auto by_name = ByName(tensors);
  if (!by_name.ok()) return by_name.status();
  std::vector<std::pair<torch::Tensor, torch::Tensor>> copies;
  for (const auto& [name, target] : ParametersAndBuffers(flow)) {
    const auto found = by_name->find(name);
    if (found == by_name->end()) return DataLoss(kFile, name, "is missing");
    absl::StatusOr<torch::Tensor> source = CheckedTensor(*found->second, target);
    if (!source.ok()) return source.status();
    copies.emplace_back(target, *std::move(source));
    by_name->erase(found);
  }
  for (const registry::Tensor& tensor : tensors) {
    if (by_name->contains(tensor.name)) return Damaged(tensor, "is no tensor of this flow");
  }
  torch::NoGradGuard no_grad;
  for (auto& [target, source] : copies) target.copy_(source);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<registry::Tensor>> FlowToTensors(const torch::nn::Module& flow) try {
  torch::NoGradGuard no_grad;
  std::vector<registry::Tensor> tensors;
  for (const auto& [name, tensor] : ParametersAndBuffers(flow)) {
    absl::StatusOr<registry::Tensor> stored = ToStored(name, tensor);
    if (!stored.ok()) return stored.status();
    tensors.push_back(*std::move(stored));
  }
  return tensors;
} catch (const std::exception& error) {
  return ExceptionStatus(error, "reading the weights");
}

absl::Status LoadWeights(torch::nn::Module& flow, absl::Span<const registry::Tensor> tensors) try {
  return LoadChecked(flow, tensors);
} catch (const std::exception& error) {
  return ExceptionStatus(error, "loading the weights");
}

}  // namespace densityd::engine
