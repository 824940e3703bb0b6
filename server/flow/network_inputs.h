// What networks see of a row: numbers as they are, angles as points of the unit circle.
#pragma once

#include "density/v1/flow_spec.pb.h"
#include "server/flow/columns.h"
#include "server/flow/module.h"

namespace densityd::flow {

/// Chosen columns of a row; a circular one becomes the cosine of its angle, and its sine follows after all columns, so
/// that both ends of the circle look the same to a network.
class NetworkInputs final : public Module {
 public:
  /// `columns`, of which `univariate` takes some for circles.
  NetworkInputs(const density::v1::Univariate& univariate, const Columns& columns);
  /// rows (N, D) -> (N, columns + circles).
  Tensor Compute(const Tensor& rows) const;

 private:
  const double turns_;  // pi / B
  Tensor columns_;
  Tensor circles_;    // those of `columns` that are circles
  Tensor is_circle_;  // of each column; undefined where none is
};

}  // namespace densityd::flow
