// Which column makes a row surprising, and what was expected there: exact conditionals of a density, by quadrature.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/explain/conditional.h"

namespace densityd::explain {

/// Computes log p(x) in nats of `log_prob.size()` points x, (n, D) row-major; point i belongs to row origin[i] of the
/// rows to explain, whose context it shares. -infinity outside of the support.
using LogDensity = std::function<absl::Status(absl::Span<const double> points, absl::Span<const uint32_t> origin,
                                              absl::Span<double> log_prob)>;

struct ExplainOptions {
  double tolerance = 1e-3;   ///< wanted relative error of each integral
  double noise = 0;          ///< relative error of a density where log p is 0 …
  double noise_per_nat = 0;  ///< … and what each nat of |log p| adds
  size_t max_nodes_per_column = 3000;
  size_t batch_points = 4096;  ///< about as many points go to one call of LogDensity
};

/// Columns of an explanation are (N, J), row-major.
struct Explanation {
  std::vector<double> log_prob;  ///< (N), nats
  std::vector<ColumnAnswer> answers;
  size_t evaluations = 0;  ///< of log p
};

/// Explains `columns` of `rows`, (N, D) row-major; `ranges` are those of the columns, (J). Memory: about
/// batch_points * (D + 64) numbers. Errors: those of `density`; INTERNAL where it answers NaN.
absl::StatusOr<Explanation> Explain(absl::Span<const double> rows, size_t features, absl::Span<const uint32_t> columns,
                                    absl::Span<const ColumnRange> ranges, const LogDensity& density,
                                    const ExplainOptions& options);

}  // namespace densityd::explain
