// The safetensors format (docs/model-format.md): a JSON header that says where each tensor lies, and the data.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/registry/tensor.h"

namespace densityd::registry {

/// What a file of `tensors` begins with, and the order in which their data follows.
struct SafetensorsLayout {
  std::string header;                  ///< length, JSON and padding
  std::vector<const Tensor*> tensors;  ///< larger elements first, so that each is aligned; else as given
};

/// INVALID_ARGUMENT for "tensors[<i>]": a name that is empty, repeated, longer than 1024 bytes or not printable ASCII,
/// data that do not match the shape, more than 8 dimensions, or more than 100,000 tensors. `tensors` must outlive it.
absl::StatusOr<SafetensorsLayout> LayOutSafetensors(absl::Span<const Tensor> tensors);

/// Reads a whole file, strictly. DATA_LOSS naming `file` and the section ("header", "tensor <name>"). Nothing is
/// allocated for a tensor before all of them were found to lie within `bytes`. In the order of the data.
absl::StatusOr<std::vector<Tensor>> ParseSafetensors(std::string_view bytes, std::string_view file);

}  // namespace densityd::registry
