// Rows of a context, whatever its encoding takes.
#pragma once

#include <cmath>
#include <vector>

#include "tests/flow/flow_testing.h"

namespace densityd::flow {

/// Rows of the context (rows, C), undefined without one: each column of what its encoding takes, missing and unknown
/// values among them.
inline Tensor ContextOf(const density::v1::FlowSpec& spec, int64_t rows, uint64_t seed) {
  if (spec.context_features() == 0) return Tensor();
  Tensor context = Normal({rows, spec.context_features()}, seed);
  const auto& columns = spec.context_encoding().columns();
  for (int j = 0; j < columns.size(); ++j) {
    Tensor column = context.select(1, j);
    if (columns[j].kind() == density::v1::ColumnPreprocessing::CIRCULAR) {
      column.copy_(columns[j].low() + (columns[j].high() - columns[j].low()) * column.sigmoid());
    }
    std::vector<double> codes(columns[j].categories().begin(), columns[j].categories().end());
    if (columns[j].accept_unknown()) codes.push_back(1234.5);
    for (int64_t row = 0; row < rows; ++row) {
      if (!codes.empty()) column[row] = codes[static_cast<size_t>(row) % codes.size()];
      if (columns[j].accept_missing() && row % 3 == 1) column[row] = std::nan("");
    }
  }
  return context;
}

}  // namespace densityd::flow
