#include "server/flow/chain_order.h"

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "server/flow/row_shape.h"

namespace densityd::flow {
namespace {

using density::v1::Layer;

bool MapsColumnsOneByOne(const Layer& layer) {
  return layer.has_standardize() || layer.has_preprocessing() || layer.has_elementwise() || layer.has_actnorm() ||
         layer.has_bijection();
}

// columns[places[i]] for each i.
Columns At(const Columns& columns, const Columns& places) {
  Columns moved;
  moved.reserve(places.size());
  for (const int64_t place : places) moved.push_back(columns[place]);
  return moved;
}

std::string NameOf(const Layer& layer, int index) {
  return absl::StrCat("spec.layers[", index, "] (", LayerKind(layer), ")");
}

}  // namespace

ChainOrder ChainOrderOf(const density::v1::FlowSpec& spec) {
  ChainOrder order;
  order.places = AllColumns(spec.features());
  if (spec.features() == 1) {
    order.columns = order.places;
    return order;
  }
  const std::vector<RowShape> shapes = LayerShapes(spec);
  int first = -1;  // the layer that set the order
  for (int i = 0; i < spec.layers_size(); ++i) {
    const Layer& layer = spec.layers(i);
    Columns columns;
    if (layer.has_autoregressive()) {
      columns = At(order.places, AutoregressiveOrder(layer.autoregressive(), spec.features()));
    } else if (layer.has_full_affine()) {
      columns = order.places;
    } else if (layer.has_permutation()) {
      order.places = At(order.places, PermutationColumns(layer.permutation(), spec.features()));
    } else if (layer.has_squeeze()) {
      order.places = At(order.places, SqueezeColumns(shapes[i]));
    } else if (!MapsColumnsOneByOne(layer)) {
      return {{}, {}, absl::StrCat(NameOf(layer, i), " keeps to no order of columns")};
    }
    if (columns.empty() || columns == order.columns) continue;
    if (first >= 0) {
      return {{},
              {},
              absl::StrCat(NameOf(layer, i), " takes the columns in another order than ",
                           NameOf(spec.layers(first), first))};
    }
    order.columns = std::move(columns);
    first = i;
  }
  if (first < 0) order.columns = AllColumns(spec.features());
  return order;
}

std::string LayerKind(const Layer& layer) {
  const auto* which = layer.GetReflection()->GetOneofFieldDescriptor(layer, layer.GetDescriptor()->oneof_decl(0));
  return which == nullptr ? "" : which->name();
}

}  // namespace densityd::flow
