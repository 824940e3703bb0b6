#include "server/flow/context_use.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

using density::v1::FlowSpec;

// Names and shapes of what is learnt, but for the encoding of the context itself.
std::vector<std::pair<std::string, std::vector<int64_t>>> ShapesOf(const FlowSpec& spec) {
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
  for (const TensorInfo& tensor : FlowTensors(spec)) {
    if (tensor.learnt && !absl::StartsWith(tensor.name, "context_encoding."))
      shapes.emplace_back(tensor.name, tensor.shape);
  }
  return shapes;
}

}  // namespace

bool ReadsContext(const FlowSpec& spec) {
  if (spec.context_features() == 0) return true;
  FlowSpec without = spec;
  without.set_context_features(0);
  without.clear_context_preprocessing();
  without.clear_context_encoding();
  // Whatever reads a context has weights for it.
  return ShapesOf(spec) != ShapesOf(without);
}

}  // namespace densityd::flow
