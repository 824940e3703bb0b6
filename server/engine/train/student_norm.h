// The constant of Student's t distribution, for steps that learn its degrees of freedom.
#pragma once

namespace densityd::engine::train {

/// log of the density at 0, and its derivative by the degrees.
struct StudentNorm {
  double log = 0;  ///< nats
  double slope = 0;
};

/// `degrees` > 0. To about 1e-14: the two log-gammas are never subtracted.
StudentNorm StudentNormOf(double degrees);

}  // namespace densityd::engine::train
