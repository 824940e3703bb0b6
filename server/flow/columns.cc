#include "server/flow/columns.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

namespace densityd::flow {
namespace {

using density::v1::Autoregressive;
using density::v1::Mask;
using density::v1::Permutation;

Columns Range(int64_t begin, int64_t end, int64_t step = 1) {
  Columns columns;
  for (int64_t column = begin; column < end; column += step) columns.push_back(column);
  return columns;
}

Columns Reversed(int64_t features) {
  Columns columns = Range(0, features);
  std::reverse(columns.begin(), columns.end());
  return columns;
}

// Fisher-Yates with numbers of std::mt19937_64, whose stream the standard fixes; std::shuffle's use of it is not fixed.
Columns RandomPermutation(int64_t features, uint64_t seed) {
  Columns columns = Range(0, features);
  std::mt19937_64 random(seed);
  for (uint64_t left = columns.size(); left > 1; --left) {
    const uint64_t biased = std::mt19937_64::max() - std::mt19937_64::max() % left;
    uint64_t draw = random();
    while (draw >= biased) draw = random();
    std::swap(columns[left - 1], columns[draw % left]);
  }
  return columns;
}

}  // namespace

Columns TransformedColumns(const Mask& mask, int64_t features) {
  if (mask.transformed_size() > 0) {
    Columns columns(mask.transformed().begin(), mask.transformed().end());
    std::sort(columns.begin(), columns.end());
    return columns;
  }
  switch (mask.pattern()) {
    case Mask::ALTERNATING_EVEN:
      return Range(0, features, 2);
    case Mask::FIRST_HALF:
      return Range(0, features / 2);
    case Mask::SECOND_HALF:
      return Range(features / 2, features);
    default:
      return Range(1, features, 2);
  }
}

Columns OtherColumns(const Columns& columns, int64_t features) {
  std::vector<bool> taken(features, false);
  for (int64_t column : columns) taken[column] = true;
  Columns others;
  for (int64_t column = 0; column < features; ++column) {
    if (!taken[column]) others.push_back(column);
  }
  return others;
}

Columns AutoregressiveOrder(const Autoregressive& layer, int64_t features) {
  if (layer.columns_size() > 0) return Columns(layer.columns().begin(), layer.columns().end());
  return layer.order() == Autoregressive::REVERSED ? Reversed(features) : Range(0, features);
}

Columns PermutationColumns(const Permutation& permutation, int64_t features) {
  if (permutation.columns_size() > 0) return Columns(permutation.columns().begin(), permutation.columns().end());
  return permutation.kind() == Permutation::RANDOM ? RandomPermutation(features, permutation.seed())
                                                   : Reversed(features);
}

Columns BijectionColumns(const density::v1::Bijection& bijection, int64_t features) {
  if (bijection.columns_size() == 0) return Range(0, features);
  Columns columns(bijection.columns().begin(), bijection.columns().end());
  std::sort(columns.begin(), columns.end());
  return columns;
}

Columns AllColumns(int64_t features) { return Range(0, features); }

Columns CircularColumns(const density::v1::Univariate& univariate, const Columns& columns) {
  const auto& circular = univariate.rational_quadratic_spline().circular();
  Columns found;
  for (int64_t column : columns) {
    if (std::find(circular.begin(), circular.end(), column) != circular.end()) found.push_back(column);
  }
  return found;
}

Columns AngleColumns(const density::v1::Univariate& univariate, const Columns& columns) {
  const bool are_seen_as_they_are =
      univariate.rational_quadratic_spline().circle() == density::v1::RationalQuadraticSpline::HALF_TURN;
  return are_seen_as_they_are ? Columns() : CircularColumns(univariate, columns);
}

Columns InversePermutation(const Columns& columns) {
  Columns inverse(columns.size());
  for (size_t j = 0; j < columns.size(); ++j) inverse[columns[j]] = static_cast<int64_t>(j);
  return inverse;
}

}  // namespace densityd::flow
