// Whether a flow splits its density by the chain rule, and in which order of columns.
#pragma once

#include <string>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/columns.h"

namespace densityd::flow {

/// An order of the data's columns such that column i of z, for each i, depends on one column of the data and on those
/// before that one, and on no other. Then p(x_j | columns before x_j) = p(z_i | z before it) |dz_i/dx_j|, exactly.
struct ChainOrder {
  Columns columns;       ///< of the data, the first one first; empty where there is no such order
  Columns places;        ///< places[i]: the data's column that z_i belongs to
  std::string obstacle;  ///< why there is none, naming the layer; empty where there is one

  bool exists() const { return obstacle.empty(); }
};

/// The order that all layers of `spec` keep to, if they do: autoregressive and full affine layers have one, those that
/// map columns one by one fit any, and every other kind has none, unless there is only one column. Precondition: `spec`
/// is checked.
ChainOrder ChainOrderOf(const density::v1::FlowSpec& spec);

/// The name of the field that is set: "coupling".
std::string LayerKind(const density::v1::Layer& layer);

}  // namespace densityd::flow
