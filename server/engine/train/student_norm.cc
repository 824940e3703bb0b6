#include "server/engine/train/student_norm.h"

#include <cmath>
#include <numbers>

namespace densityd::engine::train {

// log p(0) = r(nu / 2) - log(pi nu) / 2 with r(x) = log(gamma(x + 1/2) / gamma(x)). By gamma(x + 1) = x gamma(x),
// r(x) = r(x + 1) - log((x + 1/2) / x), until x is large enough for Stirling's series (DLMF 5.11.8):
//   r(x) = log(x) / 2 - 1 / (8 x) + 1 / (192 x^3) - 1 / (640 x^5) + 17 / (14336 x^7) - …
StudentNorm StudentNormOf(double degrees) {
  constexpr double kLarge = 20;
  double x = degrees / 2;
  double ratio = 0;
  double slope = 0;
  for (; x < kLarge; x += 1) {
    ratio -= std::log1p(0.5 / x);
    slope += 0.5 / (x * (x + 0.5));
  }
  const double t = 1 / x;
  const double square = t * t;
  ratio += 0.5 * std::log(x) + t * (-1.0 / 8 + square * (1.0 / 192 + square * (-1.0 / 640 + square * (17.0 / 14336))));
  slope += 0.5 * t + square * (1.0 / 8 + square * (-1.0 / 64 + square * (1.0 / 128 + square * (-17.0 / 2048))));
  return {ratio - 0.5 * std::log(std::numbers::pi * degrees), 0.5 * slope - 0.5 / degrees};
}

}  // namespace densityd::engine::train
