// The JSON header of a safetensors file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/registry/tensor.h"

namespace densityd::registry {

inline constexpr size_t kMaxTensors = 100'000;
inline constexpr size_t kMaxTensorNameBytes = 1024;
inline constexpr size_t kMaxDimensions = 8;

/// "F32", "F64", "I64", "U8".
std::string_view DTypeName(DType dtype);

/// One tensor as the header describes it: bytes [begin, end) of the data.
struct TensorEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape = {};
  uint64_t begin = 0;
  uint64_t end = 0;
};

/// The entries of `json` in its order. Checks form and limits, but not that entries fit each other or the data.
/// DATA_LOSS naming `file` and the section.
absl::StatusOr<std::vector<TensorEntry>> ParseSafetensorsHeader(std::string_view json, std::string_view file);

}  // namespace densityd::registry
