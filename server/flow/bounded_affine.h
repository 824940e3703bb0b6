// Affine maps of float32 numbers on a CPU, and their gradients.
#pragma once

#include <cstddef>

namespace densityd::flow {

/// Of a raw parameter a and a shift t: log g = sign bound tanh(a / bound), and either y = x g + t or y = (x - t) g.
struct BoundedAffine {
  float bound = 0;
  float sign = 1;
  bool shifts_first = false;  ///< (x - t) g
};

/// `count` numbers: theta (count, 2) holds a and t of each; writes y and log g.
struct AffineValues {
  size_t count = 0;
  const float* x = nullptr;
  const float* theta = nullptr;
  float* y = nullptr;
  float* log_g = nullptr;
};
void MapNumbers(const BoundedAffine& map, const AffineValues& values);

/// From the gradients by y and log g, those by x and theta.
struct AffineGradients {
  size_t count = 0;
  const float* x_or_y = nullptr;  ///< y where the map shifts first, else x
  const float* log_g = nullptr;
  const float* by_y = nullptr;
  const float* by_log_g = nullptr;
  float* by_x = nullptr;
  float* by_theta = nullptr;
};
void DifferentiateNumbers(const BoundedAffine& map, const AffineGradients& gradients);

}  // namespace densityd::flow
