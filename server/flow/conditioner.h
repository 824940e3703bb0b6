// Networks that compute the parameters of univariate maps.
#pragma once

#include <cstdint>
#include <memory>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/columns.h"
#include "server/flow/linear_layer.h"

namespace densityd::flow {

/// Computes theta from columns and the context. Its last layer starts at zero. Differentiable; as thread-safe as a
/// Transform. Dropout, in training mode only, draws from LibTorch's global generator.
class Conditioner : public Module {
 public:
  /// columns (N, inputs), context (N, C) or undefined -> (N, outputs). With no input columns, `columns` is undefined.
  Tensor Compute(const Tensor& columns, const Tensor& context);

 private:
  /// h (N, inputs + C) -> (N, outputs).
  virtual Tensor Run(const Tensor& h) = 0;
};

/// Dense network from `inputs` columns and `context_features` to `outputs` numbers. Registers, for an MLP, `0`, `1`, …:
/// its linear layers; for a residual MLP, `input`, `blocks.<b>.0`, `blocks.<b>.1` and `output`.
/// Precondition: `spec` is checked and has its defaults.
std::shared_ptr<Conditioner> MakeConditioner(const density::v1::Conditioner& spec, int64_t inputs,
                                             int64_t context_features, int64_t outputs, Initializer& initializer);

/// Masked form (MADE, Germain et al. 2015; residual MADE, Nash & Durkan 2019): output column * parameters + p,
/// parameter p of `column`, depends on the columns before `column` in `order` and on the context alone. After the D
/// columns come further inputs that belong to the columns `repeated`. The same names.
std::shared_ptr<Conditioner> MakeMaskedConditioner(const density::v1::Conditioner& spec, const Columns& order,
                                                   const Columns& repeated, int64_t context_features,
                                                   int64_t parameters, Initializer& initializer);

}  // namespace densityd::flow
