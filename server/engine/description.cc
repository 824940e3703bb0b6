#include "server/engine/description.h"

namespace densityd::engine {

uint64_t PlanDescription::multiply_adds() const {
  uint64_t sum = 0;
  for (const LayerDescription& layer : layers) sum += layer.multiply_adds;
  return sum;
}

uint64_t PlanDescription::dense_multiply_adds() const {
  uint64_t sum = 0;
  for (const LayerDescription& layer : layers) sum += layer.dense_multiply_adds;
  return sum;
}

}  // namespace densityd::engine
