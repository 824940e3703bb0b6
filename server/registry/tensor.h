// A named block of numbers, as stored: no arithmetic, no LibTorch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace densityd::registry {

/// Element types that are stored. Little-endian.
enum class DType { kF32, kF64, kI64, kU8 };

/// Owned tensor, row-major and contiguous. Invariant: data.size() = product(shape) * element bytes.
struct Tensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::string data;
};

}  // namespace densityd::registry
