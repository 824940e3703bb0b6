// Autoregressive scheme: every column is mapped with parameters from the columns before it.
#pragma once

#include <memory>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/conditioner.h"
#include "server/flow/network_inputs.h"
#include "server/flow/triangular.h"
#include "server/flow/univariate.h"

namespace densityd::flow {

/// x[d] = f(z[d]; theta[d]), theta[d] computed by a masked network from the columns before d and the context: from x
/// where the density is the parallel direction (MAF, Papamakarios et al. 2017), from z where sampling is (IAF, Kingma
/// et al. 2016). The parallel direction is one pass of the network; the other takes D passes here, one column each, and
/// is the reference for compiled plans. Registers `conditioner`; its output d * P + p is parameter p of column d.
class Autoregressive final : public TriangularTransform {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  Autoregressive(const density::v1::Autoregressive& spec, int64_t features, int64_t context_features,
                 Initializer& initializer);
  Mapped Forward(const Tensor& z, const Tensor& context) override;
  Mapped Inverse(const Tensor& x, const Tensor& context) override;
  MappedColumns InverseByColumn(const MappedColumns& x, const Tensor& context) override;

 private:
  using Direction = MappedColumns (Univariate::*)(const Tensor&, const Tensor&) const;
  MappedColumns ToBase(const Tensor& x, const Tensor& context);
  MappedColumns Parallel(const Tensor& from, const Tensor& context, Direction direction);
  MappedColumns Sequential(const Tensor& from, const Tensor& context, Direction direction);
  Tensor Theta(const Tensor& rows, const Tensor& context);

  const int64_t features_;
  const int64_t parameters_;
  const bool parallel_density_;
  const std::unique_ptr<Univariate> univariate_;
  Tensor order_;
  Columns columns_in_order_;
  std::shared_ptr<NetworkInputs> inputs_;
  std::shared_ptr<Conditioner> conditioner_;
};

}  // namespace densityd::flow
