// Univariate maps x = f(z; theta): what a scheme (elementwise, coupling, autoregressive) does to one column.
#pragma once

#include <cstdint>
#include <memory>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/columns.h"
#include "server/flow/elementary.h"

namespace densityd::flow {

/// Strictly increasing map of K columns, each with P parameters. All-zero parameters make the identity. Immutable and
/// thread-safe. To add one: implement it here, and give it a field in the proto's Univariate, its P in
/// UnivariateParameters and a row in the table of tests/flow/transform_test.cc; every scheme then has it.
class Univariate {
 public:
  virtual ~Univariate() = default;
  /// z (N, K), theta (N, K, P) -> x (N, K), log dx/dz (N, K).
  virtual MappedColumns Forward(const Tensor& z, const Tensor& theta) const = 0;
  /// x (N, K), theta (N, K, P) -> z (N, K), log dz/dx (N, K).
  virtual MappedColumns Inverse(const Tensor& x, const Tensor& theta) const = 0;
  /// The map of the k-th of the columns alone. Lives as long as this.
  virtual const Univariate& OfColumn(int64_t /*k*/) const { return *this; }
};

/// The map of `columns`, in this order, of a layer's D. Precondition: `spec` is checked and has its defaults.
std::unique_ptr<Univariate> MakeUnivariate(const density::v1::Univariate& spec, const Columns& columns);

}  // namespace densityd::flow
