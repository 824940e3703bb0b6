// Normal base distributions with independent columns. Deviations stay within [1e-3, 1e3]: log sigma = c tanh(raw / c),
// c = log 1000.
#pragma once

#include <memory>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/base_distribution.h"
#include "server/flow/conditioner.h"

namespace densityd::flow {

/// N(0, I). Registers nothing.
class StandardNormal final : public BaseDistribution {
 public:
  Tensor LogProb(const Tensor& z, const Tensor& context) override;
  Tensor LogProbByColumn(const Tensor& z, const Tensor& context, const Tensor& order) override;
  Tensor FromNoise(const Tensor& noise, const Tensor& context) override;
};

/// Registers `mean` (D) and `log_scale` (D), raw.
class DiagonalNormal final : public BaseDistribution {
 public:
  explicit DiagonalNormal(int64_t features);
  Tensor LogProb(const Tensor& z, const Tensor& context) override;
  Tensor LogProbByColumn(const Tensor& z, const Tensor& context, const Tensor& order) override;
  Tensor FromNoise(const Tensor& noise, const Tensor& context) override;

 private:
  Tensor mean_;
  Tensor log_scale_;
};

/// Registers `conditioner`: from the context to the D means, then the D raw log-scales.
class ConditionalDiagonalNormal final : public BaseDistribution {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  ConditionalDiagonalNormal(const density::v1::ConditionalDiagonalNormal& spec, int64_t features,
                            int64_t context_features, Initializer& initializer);
  Tensor LogProb(const Tensor& z, const Tensor& context) override;
  Tensor LogProbByColumn(const Tensor& z, const Tensor& context, const Tensor& order) override;
  Tensor FromNoise(const Tensor& noise, const Tensor& context) override;

 private:
  std::shared_ptr<Conditioner> conditioner_;
};

}  // namespace densityd::flow
