// Coupling scheme: one part of the columns decides how the other part is mapped.
#pragma once

#include <memory>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/conditioner.h"
#include "server/flow/network_inputs.h"
#include "server/flow/row_shape.h"
#include "server/flow/transform.h"
#include "server/flow/univariate.h"

namespace densityd::flow {

/// Columns of the mask's 0 pass; those of its 1 are mapped by f(.; theta(passed columns, context)) (NICE, Dinh et al.
/// 2014). Both directions are one pass of the network. Registers `conditioner`; its output k * P + p is parameter p of
/// the k-th transformed column; and, where the columns of mask 0 have a map of their own (Durkan et al. 2019, section
/// 4), its parameters `passed_theta` (columns, P).
class Coupling final : public Transform {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  Coupling(const density::v1::Coupling& spec, const RowShape& shape, int64_t context_features,
           Initializer& initializer);
  Mapped Forward(const Tensor& z, const Tensor& context) override;
  Mapped Inverse(const Tensor& x, const Tensor& context) override;

 private:
  Tensor Theta(const Tensor& rows, const Tensor& context);
  Tensor PassedTheta(int64_t rows) const;

  const int64_t parameters_;
  std::unique_ptr<Univariate> univariate_;
  std::unique_ptr<Univariate> passed_univariate_;  // may be null
  Tensor passed_theta_;
  Tensor transformed_;
  Tensor passed_;
  std::shared_ptr<NetworkInputs> inputs_;
  std::shared_ptr<Conditioner> conditioner_;
};

}  // namespace densityd::flow
