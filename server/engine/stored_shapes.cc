#include "server/engine/stored_shapes.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/errors.h"
#include "server/flow/spec.h"

namespace densityd::engine {
namespace {

std::string ShapeString(const std::vector<int64_t>& shape) {
  return absl::StrCat("(", absl::StrJoin(shape, ", "), ")");
}

}  // namespace

absl::Status CheckShapes(const density::v1::FlowSpec& spec, absl::Span<const registry::Tensor> tensors) {
  constexpr std::string_view kFile = "weights.safetensors";
  if (absl::Status status = flow::CheckFlowSpec(spec); !status.ok()) return status;
  absl::flat_hash_map<std::string, const registry::Tensor*> by_name;
  for (const registry::Tensor& tensor : tensors) by_name.emplace(tensor.name, &tensor);
  for (const flow::TensorInfo& wanted : flow::FlowTensors(spec)) {
    const auto found = by_name.find(wanted.name);
    if (found == by_name.end()) return DataLoss(kFile, wanted.name, "is missing");
    const std::vector<int64_t>& shape = found->second->shape;
    if (shape == wanted.shape) continue;
    return DataLoss(kFile, wanted.name,
                    absl::StrCat("has shape ", ShapeString(shape), "; the flow has ", ShapeString(wanted.shape)));
  }
  return absl::OkStatus();
}

}  // namespace densityd::engine
