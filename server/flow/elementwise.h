// Elementwise scheme: every column on its own.
#pragma once

#include <memory>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/conditioner.h"
#include "server/flow/triangular.h"
#include "server/flow/univariate.h"

namespace densityd::flow {

/// x[d] = f(z[d]; theta[d]), with theta (D, P) learnt, or computed from the context. Registers `theta` or
/// `conditioner`.
class Elementwise final : public TriangularTransform {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  Elementwise(const density::v1::Elementwise& spec, int64_t features, int64_t context_features,
              Initializer& initializer);
  Mapped Forward(const Tensor& z, const Tensor& context) override;
  Mapped Inverse(const Tensor& x, const Tensor& context) override;
  MappedColumns InverseByColumn(const MappedColumns& x, const Tensor& context) override;

 private:
  Tensor Theta(const Tensor& rows, const Tensor& context);

  const int64_t features_;
  const int64_t parameters_;
  const std::unique_ptr<Univariate> univariate_;
  Tensor theta_;
  std::shared_ptr<Conditioner> conditioner_;
};

}  // namespace densityd::flow
