// Linear maps of whole rows: permutation, LU, ActNorm, and the full affine map.
#pragma once

#include "server/flow/row_shape.h"
#include "server/flow/triangular.h"

namespace densityd::flow {

/// Smallest diagonal entry of a learnt triangular matrix.
inline constexpr double kMinDiagonal = 1e-3;

/// L and U of a learnt square matrix L U, kept in one tensor: below its diagonal L, whose own diagonal is 1; above it
/// U; on it `raw`, diag(U) = softplus(raw) + 1e-3.
struct LuFactors {
  /// What the tensor (n, n) of L U = I holds.
  static Tensor Identity(int64_t n);

  Tensor Lower() const;
  Tensor Upper() const;
  /// log|det(L U)|: ().
  Tensor LogAbsDet() const;

  Tensor lu;
  Tensor identity;
};

/// z[j] = x[columns[j]]; log|det| = 0. Registers nothing.
class Permutation final : public TriangularTransform {
 public:
  explicit Permutation(const Columns& columns);
  Mapped Forward(const Tensor& z, const Tensor& context) override;
  Mapped Inverse(const Tensor& x, const Tensor& context) override;
  MappedColumns InverseByColumn(const MappedColumns& x, const Tensor& context) override;

 private:
  Tensor columns_;
  Tensor inverse_columns_;
};

/// z = L U x + b (Kingma & Dhariwal 2018). Registers `lu` (D, D), LuFactors, and `bias` (D). Starts as the identity.
class LuLinear final : public Transform {
 public:
  explicit LuLinear(int64_t features);
  Mapped Forward(const Tensor& z, const Tensor& context) override;
  Mapped Inverse(const Tensor& x, const Tensor& context) override;

 private:
  LuFactors factors_;
  Tensor bias_;
};

/// z = (x - shift) * exp(-log_scale) (Kingma & Dhariwal 2018), per column or per channel of an image. Registers
/// `log_scale` (D or channels), `shift` (the same) and the flag `initialized` (): 1 once InitializeFromData has set
/// both so that the columns, or the channels, of its rows leave with mean 0 and deviation 1.
class ActNorm final : public TriangularTransform {
 public:
  /// Precondition: `spec` is checked.
  ActNorm(const density::v1::ActNorm& spec, const RowShape& shape);
  Mapped Forward(const Tensor& z, const Tensor& context) override;
  Mapped Inverse(const Tensor& x, const Tensor& context) override;
  MappedColumns InverseByColumn(const MappedColumns& x, const Tensor& context) override;
  /// Does nothing the second time, nor with fewer than two rows.
  void InitializeFromData(const Tensor& x, const Tensor& context) override;

 private:
  // Of each column.
  Tensor PerColumn(const Tensor& numbers) const;

  const int64_t pixels_;  // columns that share their numbers
  Tensor log_scale_;
  Tensor shift_;
  Tensor initialized_;
};

/// x = A z + b: with a standard-normal base the normal distribution of mean b and covariance A A^T. Registers `lower`
/// (D (D + 1) / 2), the lower triangle of A row by row, its diagonal as `raw`, diag(A) = softplus(raw) + 1e-3; and
/// `shift` (D), b. Starts as the identity.
class FullAffine final : public TriangularTransform {
 public:
  explicit FullAffine(int64_t features);
  Mapped Forward(const Tensor& z, const Tensor& context) override;
  Mapped Inverse(const Tensor& x, const Tensor& context) override;
  MappedColumns InverseByColumn(const MappedColumns& x, const Tensor& context) override;
  /// Sets b and A to the maximum-likelihood normal distribution of `x`. Does nothing where the sample covariance is not
  /// positive definite.
  void InitializeFromData(const Tensor& x, const Tensor& context) override;

 private:
  Tensor Matrix() const;

  const int64_t features_;
  Tensor lower_;
  Tensor shift_;
  Tensor rows_;      // row of each entry of `lower`
  Tensor columns_;   // column of each entry of `lower`
  Tensor diagonal_;  // indices of the diagonal entries in `lower`
};

}  // namespace densityd::flow
