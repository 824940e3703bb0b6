// Maps that take each column to a column of its own.
#pragma once

#include "server/flow/elementary.h"
#include "server/flow/transform.h"

namespace densityd::flow {

/// A transform whose column z_i depends, in some order of the columns, on one column of x and on those before it: the
/// Jacobian is triangular but for the places of columns, and log|det| a sum over columns.
class TriangularTransform : public Transform {
 public:
  /// Inverse, column by column: x.value (N, D) -> z, and each column's log|slope| (N, D), which begins as x.log_slope
  /// and goes where its column goes. That of a column outside of its support is -infinity.
  virtual MappedColumns InverseByColumn(const MappedColumns& x, const Tensor& context) = 0;
};

/// Columns as a whole row.
inline Mapped Summed(const MappedColumns& columns) { return {columns.value, columns.log_slope.sum(1)}; }

/// The map that `columns` is of what was mapped so far.
inline MappedColumns After(const MappedColumns& so_far, const MappedColumns& columns) {
  return {columns.value, so_far.log_slope + columns.log_slope};
}

}  // namespace densityd::flow
