// Column indices that a checked spec stands for: masks, orders and permutations, written out.
#pragma once

#include <cstdint>
#include <vector>

#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// Columns of a D-column row, ascending unless stated.
using Columns = std::vector<int64_t>;

/// Columns that a coupling layer transforms (mask 1). May be empty, or all, where the mask does not suit D.
Columns TransformedColumns(const density::v1::Mask& mask, int64_t features);

/// Columns that are not in `columns`. Precondition: every entry is < features.
Columns OtherColumns(const Columns& columns, int64_t features);

/// order[i] is the column that is mapped i-th, from the columns before it.
Columns AutoregressiveOrder(const density::v1::Autoregressive& layer, int64_t features);

/// z[j] = x[columns[j]]. RANDOM is the same permutation for a seed and D on every machine and in every release.
Columns PermutationColumns(const density::v1::Permutation& permutation, int64_t features);

/// Columns that a bijection maps: all where none is named.
Columns BijectionColumns(const density::v1::Bijection& bijection, int64_t features);

/// 0 … D-1.
Columns AllColumns(int64_t features);

/// The entries of `columns` that `univariate` takes for circles, in the order of `columns`.
Columns CircularColumns(const density::v1::Univariate& univariate, const Columns& columns);

/// Those of them that networks see the cosine and sine of.
Columns AngleColumns(const density::v1::Univariate& univariate, const Columns& columns);

/// inverse[columns[j]] = j. Precondition: `columns` is a permutation.
Columns InversePermutation(const Columns& columns);

}  // namespace densityd::flow
