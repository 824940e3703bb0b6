#include "server/flow/rademacher.h"

#include <random>
#include <vector>

namespace densityd::flow {

torch::Tensor Rademacher(int64_t rows, int64_t columns, uint64_t seed) {
  // Its stream is fixed by the standard.
  std::mt19937_64 random(seed);
  std::vector<double> signs(rows * columns);
  for (double& sign : signs) sign = random() >> 63 == 0 ? 1 : -1;
  return torch::tensor(signs, torch::kFloat64).view({rows, columns});
}

torch::Tensor OtherRademacher(const torch::Tensor& probes, uint64_t seed, uint64_t draw) {
  // Odd steps through all seeds: no draw meets those of layers whose seeds are counted up.
  constexpr uint64_t kStep = 0x9E3779B97F4A7C15;
  return Rademacher(probes.size(0), probes.size(1), seed + draw * kStep).to(probes.options());
}

torch::Tensor RandomRademacher(torch::IntArrayRef shape, const torch::TensorOptions& options) {
  return torch::empty(shape, options).bernoulli_(0.5) * 2 - 1;
}

}  // namespace densityd::flow
