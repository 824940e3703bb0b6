// Which flows estimate their density.
#include <vector>

#include "server/flow/row_shape.h"
#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

// Of a velocity: the trace of its Jacobian is exact for so many hidden layers, whatever the number of columns.
constexpr int kExactHiddenLayers = 2;

}  // namespace

bool IsEstimated(const density::v1::Layer& layer, int64_t columns) {
  if (layer.has_residual()) return columns > layer.residual().exact_trace_features();
  if (!layer.has_continuous()) return false;
  return columns > layer.continuous().exact_trace_features() &&
         layer.continuous().network().hidden_size() > kExactHiddenLayers;
}

bool EstimatesLogProb(const density::v1::FlowSpec& spec) {
  const std::vector<RowShape> shapes = LayerShapes(spec);
  for (int i = 0; i < spec.layers_size(); ++i) {
    if (IsEstimated(spec.layers(i), shapes[i].columns)) return true;
  }
  return false;
}

}  // namespace densityd::flow
