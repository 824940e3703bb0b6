// A named block of numbers, as stored: no arithmetic, no LibTorch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace densityd::registry {

/// Element types that are stored. Little-endian.
enum class DType { kF32, kF64, kI64, kU8 };

/// Bytes of one element.
constexpr size_t ElementBytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 4;
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kU8:
      return 1;
  }
  return 0;
}

/// Owned tensor, row-major and contiguous. Invariant: data.size() = product(shape) * element bytes.
struct Tensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::string data;
};

/// Bytes of a tensor of this shape; none where a size is negative or the product overflows.
std::optional<uint64_t> TensorBytes(DType dtype, absl::Span<const int64_t> shape);

}  // namespace densityd::registry
