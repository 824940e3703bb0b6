// Fully connected layers, dense or masked, and their initial weights.
#pragma once

#include <cstdint>
#include <vector>

#include "ATen/core/Generator.h"
#include "server/flow/module.h"

namespace densityd::flow {

/// Source of initial weights. The same seed gives the same weights, whatever else draws random numbers.
class Initializer {
 public:
  explicit Initializer(uint64_t seed);
  /// Numbers uniform within [-bound, bound), in float64.
  Tensor Uniform(torch::IntArrayRef shape, double bound);

 private:
  at::Generator generator_;
};

/// The units on one side of a layer. A masked network gives each a degree (made_degrees.h); a dense one has none.
struct Units {
  int64_t count = 0;
  std::vector<int64_t> degrees;  ///< empty, or `count` of them
};

/// How a layer's weights and biases start.
enum class Start {
  kUniform,  ///< within 1 / sqrt(inputs), as torch::nn::Linear does
  kSmall,    ///< within 1e-3: the end of a residual block
  kZero,     ///< the end of a conditioner
};

/// y = W x + b with W (outputs, inputs); x (N, inputs). Between units with degrees, W's entry from i to j is zero
/// unless degree(i) <= degree(j). Registers `weight` and `bias`.
class LinearLayer : public Module {
 public:
  LinearLayer(const Units& from, const Units& to, Start start, Initializer& initializer);
  Tensor Apply(const Tensor& x) const;

  const Tensor& weight() const { return weight_; }
  /// 1 where W may be other than zero, else 0, of its shape; undefined where dense.
  const Tensor& mask() const { return mask_; }
  /// From now on Apply relies on masked entries of the weight being zero, as they are at the start: whoever changes the
  /// weight keeps them so. Saves a product of the weight's size in each pass, and another one in its gradient.
  void RelyOnMaskedWeight() { is_weight_masked_ = true; }

 private:
  Tensor weight_;
  Tensor bias_;
  Tensor mask_;  // undefined where dense
  bool is_weight_masked_ = false;
};

}  // namespace densityd::flow
