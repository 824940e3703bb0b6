// Networks that shorten distances: each of two inputs' outputs are closer to each other than they are.
#pragma once

#include <cstdint>
#include <vector>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/linear_layer.h"
#include "server/flow/module.h"

namespace densityd::flow {

/// A multi-layer perceptron g(x, c) whose Lipschitz constant in x is at most coefficient^layers: every weight matrix is
/// divided by max(1, spectral norm / coefficient), the context's columns of the first one aside, and activations by
/// their own Lipschitz constant. The spectral norm is exact, by a singular value decomposition. Registers `0`, `1`, …:
/// its linear layers, as they are before that. The last one starts at zero.
class ContractiveNetwork final : public Module {
 public:
  /// Precondition: `spec` has its defaults.
  ContractiveNetwork(const density::v1::Mlp& spec, double coefficient, int64_t features, int64_t context_features,
                     Initializer& initializer);

  /// The weights as they are used, for one call.
  struct Weights {
    std::vector<Tensor> matrices;  // of x's columns
    Tensor context_matrix;         // undefined without context
    std::vector<Tensor> biases;
  };
  Weights Normalised() const;

  /// g at some rows, and what its Jacobian there needs.
  struct Point {
    Tensor value;                // (N, D)
    std::vector<Tensor> slopes;  // the activations' derivatives (N, hidden), one for each hidden layer
  };
  Point Compute(const Weights& weights, const Tensor& x, const Tensor& context) const;

  /// J v for each row of v (N, D), and J itself (N, D, D), J = dg/dx.
  static Tensor TimesJacobian(const Weights& weights, const Point& point, const Tensor& v);
  static Tensor Jacobian(const Weights& weights, const Point& point);

  /// The bound on the Lipschitz constant, below 1.
  double Contraction() const;

 private:
  struct Layer final : public Module {
    Tensor weight;
    Tensor bias;
    Layer(int64_t inputs, int64_t outputs, double bound, Initializer& initializer);
  };

  const density::v1::Activation activation_;
  const double coefficient_;
  const int64_t features_;
  std::vector<std::shared_ptr<Layer>> layers_;
};

}  // namespace densityd::flow
