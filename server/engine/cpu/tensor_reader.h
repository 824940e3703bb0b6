// Stored tensors by name, as float64.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/engine/cpu/matrix64.h"
#include "server/flow/spec.h"
#include "server/registry/tensor.h"

namespace densityd::engine::cpu {

/// Reads tensors that were checked against the spec once, so that reading them cannot fail.
class TensorReader {
 public:
  /// DATA_LOSS whose section is the tensor's name, where `tensors` are not exactly those that `expected` lists:
  /// missing, unknown, named twice, of another shape or size, not floating-point, or with a number that is not finite.
  static absl::StatusOr<TensorReader> Create(absl::Span<const registry::Tensor> tensors,
                                             const std::vector<flow::TensorInfo>& expected);

  /// All numbers of a tensor, row-major. Precondition: the name was expected.
  std::vector<double> Vector(std::string_view name) const;
  /// A tensor of two dimensions. Precondition: the name was expected.
  Matrix64 Matrix(std::string_view name) const;

 private:
  TensorReader() = default;

  absl::flat_hash_map<std::string, const registry::Tensor*> by_name_;
};

}  // namespace densityd::engine::cpu
