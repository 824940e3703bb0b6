// What rounded_ends.h says of one number, for tensors.
#pragma once

#include "torch/types.h"

namespace densityd::flow {

inline float AsFloat32(double end) { return static_cast<float>(end); }
inline torch::Tensor AsFloat32(const torch::Tensor& ends) { return ends.to(torch::kFloat32); }

/// x; numbers that rounding to float32 has put beyond an end of [low, high] are that end, with the gradient of x.
/// `End` is double, or a tensor of an end for each column.
template <typename End>
torch::Tensor WithinEnds(const torch::Tensor& x, const End& low, const End& high) {
  const torch::Tensor numbers = x.detach();
  const torch::Tensor rounded = numbers.to(torch::kFloat32);
  const torch::Tensor outside = (rounded < AsFloat32(low)).logical_or(rounded > AsFloat32(high));
  // NaN and infinity stay what they are.
  const torch::Tensor beyond = (numbers - numbers.clamp(low, high)).masked_fill(outside.logical_or(numbers.isnan()), 0);
  return x - beyond;
}

}  // namespace densityd::flow
