// Views of rows that somebody else owns: how rows pass from a request to a plan and back without a copy.
#pragma once

#include <cstddef>

namespace densityd {

/// Type of one number.
enum class NumberType { kFloat32, kFloat64 };

/// Bytes of one number.
constexpr size_t NumberBytes(NumberType type) { return type == NumberType::kFloat32 ? 4 : 8; }

/// Read-only row-major matrix (rows, cols). Empty when `data` is null. Not necessarily aligned.
struct ConstMatrix {
  const void* data = nullptr;
  NumberType type = NumberType::kFloat32;
  size_t rows = 0;
  size_t cols = 0;
};

/// Writable row-major matrix (rows, cols); a vector (N) is (N, 1). Empty when `data` is null. Not necessarily aligned.
struct MutableMatrix {
  void* data = nullptr;
  NumberType type = NumberType::kFloat32;
  size_t rows = 0;
  size_t cols = 0;
};

}  // namespace densityd
