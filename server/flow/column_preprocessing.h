// Preprocessing per column: what column_map.h says of one number, for tensors.
#pragma once

#include <vector>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/column_map.h"
#include "server/flow/triangular.h"

namespace densityd::flow {

/// z of the numbers x (N), float64, of one column that is not discrete; 0 outside its support.
Tensor MapColumnToBase(const ColumnForm& form, const Tensor& x);

/// Layer 0 of a flow. Computed in float64 whatever the flow's dtype; x may be of any floating dtype, z is of the
/// flow's. In training mode the noise of integers and categories is drawn from LibTorch's generator; in evaluation mode
/// it is 1/2, and a row's density is a function of the row. Registers nothing.
class Preprocessing final : public TriangularTransform {
 public:
  /// Precondition: `spec` is fitted.
  explicit Preprocessing(const density::v1::Preprocessing& spec);
  /// log|det dx/dz| is that of the numbers before they are rounded to integers and categories.
  Mapped Forward(const Tensor& z, const Tensor& context) override;
  Mapped Inverse(const Tensor& x, const Tensor& context) override;
  MappedColumns InverseByColumn(const MappedColumns& x, const Tensor& context) override;

  /// Columns of one shape (K), and their numbers (K).
  struct Group {
    ColumnForm::Shape shape;
    Tensor columns;
    Tensor low;
    Tensor high;
    Tensor power;
  };

 private:
  struct Codes {
    int64_t column;
    Tensor codes;
  };

  Tensor Numbers(const std::vector<double>& numbers);
  Tensor Dequantize(const Tensor& x) const;
  Tensor Quantize(const Tensor& y) const;
  template <typename Map>
  MappedColumns MapGroups(const Tensor& from, const Map& map) const;
  // In float64.
  MappedColumns ToBase(const Tensor& x) const;

  std::vector<Group> groups_;
  std::vector<Codes> codes_;
  Tensor is_discrete_;  // (D), 1 or 0
  Tensor smallest_;     // (D), of x
  Tensor largest_;
  Tensor center_;
  Tensor scale_;
  Tensor log_scale_;  // (D)
  Tensor dtype_;      // of the flow
  bool any_discrete_ = false;
};

}  // namespace densityd::flow
