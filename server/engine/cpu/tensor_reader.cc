#include "server/engine/cpu/tensor_reader.h"

#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/errors.h"

namespace densityd::engine::cpu {
namespace {

using registry::DType;
using registry::Tensor;

constexpr std::string_view kFile = "weights.safetensors";

template <typename Number>
std::vector<double> Numbers(const std::string& data) {
  std::vector<double> numbers(data.size() / sizeof(Number));
  for (size_t i = 0; i < numbers.size(); ++i) {
    Number number;
    std::memcpy(&number, data.data() + i * sizeof(Number), sizeof(Number));
    numbers[i] = number;
  }
  return numbers;
}

/// Precondition: the type is floating-point.
std::vector<double> NumbersOf(const Tensor& tensor) {
  return tensor.dtype == DType::kF32 ? Numbers<float>(tensor.data) : Numbers<double>(tensor.data);
}

std::string ShapeString(const std::vector<int64_t>& shape) {
  return absl::StrCat("(", absl::StrJoin(shape, ", "), ")");
}

absl::Status Check(const Tensor& tensor, const flow::TensorInfo& expected) {
  if (tensor.shape != expected.shape) {
    return DataLoss(
        kFile, tensor.name,
        absl::StrCat("has shape ", ShapeString(tensor.shape), "; the flow has ", ShapeString(expected.shape)));
  }
  if (tensor.dtype != DType::kF32 && tensor.dtype != DType::kF64) {
    return DataLoss(kFile, tensor.name, "has numbers that are not floating-point");
  }
  size_t bytes = tensor.dtype == DType::kF32 ? 4 : 8;
  for (int64_t length : tensor.shape) bytes *= static_cast<size_t>(length);
  if (tensor.data.size() != bytes) {
    return DataLoss(kFile, tensor.name, absl::StrCat("holds ", tensor.data.size(), " bytes; its shape needs ", bytes));
  }
  for (double number : NumbersOf(tensor)) {
    if (!std::isfinite(number)) return DataLoss(kFile, tensor.name, "holds a number that is not finite");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TensorReader> TensorReader::Create(absl::Span<const Tensor> tensors,
                                                  const std::vector<flow::TensorInfo>& expected) {
  TensorReader reader;
  for (const Tensor& tensor : tensors) {
    if (!reader.by_name_.emplace(tensor.name, &tensor).second) return DataLoss(kFile, tensor.name, "occurs twice");
  }
  absl::flat_hash_map<std::string, const Tensor*> rest = reader.by_name_;
  for (const flow::TensorInfo& info : expected) {
    const auto found = rest.find(info.name);
    if (found == rest.end()) return DataLoss(kFile, info.name, "is missing");
    absl::Status status = Check(*found->second, info);
    if (!status.ok()) return status;
    rest.erase(found);
  }
  for (const Tensor& tensor : tensors) {
    if (rest.contains(tensor.name)) return DataLoss(kFile, tensor.name, "is no tensor of this flow");
  }
  return reader;
}

std::vector<double> TensorReader::Vector(std::string_view name) const {
  return NumbersOf(*by_name_.at(absl::string_view(name.data(), name.size())));
}

Matrix64 TensorReader::Matrix(std::string_view name) const {
  const Tensor& tensor = *by_name_.at(absl::string_view(name.data(), name.size()));
  Matrix64 matrix;
  matrix.rows = tensor.shape[0];
  matrix.cols = tensor.shape[1];
  matrix.values = NumbersOf(tensor);
  return matrix;
}

}  // namespace densityd::engine::cpu
