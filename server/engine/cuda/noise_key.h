// What names the noise of one sampled row.
#pragma once

#include <cstdint>

namespace densityd::engine::cuda {

/// Arguments of StandardNormal (server/engine/philox.h).
struct NoiseKey {
  uint64_t seed = 0;
  uint64_t row = 0;
};

}  // namespace densityd::engine::cuda
