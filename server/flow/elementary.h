// Elementary bijections of the real line and their log-derivatives, without cancellation or overflow in either tail.
#pragma once

#include "server/flow/module.h"

namespace densityd::flow {

/// Mapped numbers and log|derivative| at each of them, of the same shape.
struct MappedColumns {
  Tensor value;
  Tensor log_slope;
};

/// log(1 + e^a), without the linear shortcut of torch::softplus, which is off by 2e-9.
Tensor Softplus(const Tensor& a);

/// softplus^-1(positive): the raw parameter that a softplus makes `positive` from.
double InverseSoftplus(double positive);

/// c * tanh(raw / c): a log-scale that cannot leave (-c, c), and is `raw` near 0.
Tensor SoftBound(const Tensor& raw, double c);

/// raw / (1 + |raw| / c): the same bound, approached more slowly.
Tensor SoftClip(const Tensor& raw, double c);

MappedColumns AffineMap(const Tensor& a, double scale, double shift);
MappedColumns ExpMap(const Tensor& a);
MappedColumns SoftplusMap(const Tensor& a);
MappedColumns TanhMap(const Tensor& a);
/// (sigmoid(a) - alpha) / (1 - 2 alpha).
MappedColumns SigmoidMap(const Tensor& a, double alpha);
MappedColumns LeakyReluMap(const Tensor& a, double slope);

/// The inverses of the maps above. Outside the image of the map: value 0 and log-slope -infinity.
MappedColumns LogMap(const Tensor& a);
MappedColumns InverseSoftplusMap(const Tensor& a);
MappedColumns AtanhMap(const Tensor& a);
MappedColumns LogitMap(const Tensor& a, double alpha);

}  // namespace densityd::flow
