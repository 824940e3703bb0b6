// Degrees of the units of a masked network (MADE, Germain et al. 2015), from which its masks follow.
//
// A unit of degree m depends on the columns order[0 … m-1] and on the context. So
//   - the context has degree 0: every hidden unit sees all of it;
//   - column order[i] enters with degree i + 1;
//   - hidden units have ascending degrees, the same in every layer of one width, so that identity skips of residual
//     blocks respect the order too, and masked weights are block-triangular without reordering;
//   - the parameters of column order[i] leave with degree i.
// A weight is kept where degree(from) <= degree(to).
#pragma once

#include <cstdint>
#include <vector>

#include "server/flow/columns.h"

namespace densityd::flow {

/// Degree of each input unit: the D columns in the data's order, then the C context columns.
std::vector<int64_t> InputDegrees(const Columns& order, int64_t context_features);

/// Ascending degrees of `width` hidden units, spread evenly over 1 … D-1, or over 0 … D-1 with a context: units of
/// degree 0, which see the context alone, serve the first column.
std::vector<int64_t> HiddenDegrees(int64_t width, int64_t features, bool has_context);

/// Degree of each output unit: unit column * parameters + p is parameter p of `column`, in the data's order.
std::vector<int64_t> OutputDegrees(const Columns& order, int64_t parameters);

}  // namespace densityd::flow
