// What the rows hold that a layer sees: columns, or the pixels of an image. Squeezes and splits change it on the way
// from the data to the base.
#pragma once

#include <cstdint>
#include <vector>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/columns.h"

namespace densityd::flow {

/// Columns of a row; of an image, column (channel * height + row) * width + column.
struct RowShape {
  int64_t columns = 0;
  int64_t channels = 0;  ///< 0: plain columns
  int64_t height = 0;
  int64_t width = 0;

  bool is_image() const { return channels > 0; }
  int64_t pixels() const { return height * width; }
};

/// What the data hold.
RowShape DataShape(const density::v1::FlowSpec& spec);

/// What the layers behind `layer`, towards the base, see of the rows that `layer` sees as `shape`: the first so many
/// columns. What a split hands to the base is left where it is, behind them. Precondition: the layer is checked.
RowShape ShapeAfter(const density::v1::Layer& layer, const RowShape& shape);

/// What each layer sees. Precondition: every layer is checked.
std::vector<RowShape> LayerShapes(const density::v1::FlowSpec& spec);

/// Columns that a coupling layer transforms (mask 1), also those of an image's patterns. May be empty, or all, where
/// the mask does not suit the rows.
Columns TransformedColumns(const density::v1::Mask& mask, const RowShape& shape);

/// Whether `pattern` is one of images.
bool IsImagePattern(density::v1::Mask::Pattern pattern);

/// Channels of an image that hold any of `columns`, ascending.
Columns ChannelsWith(const Columns& columns, const RowShape& shape);

/// z[j] = x[columns[j]] of a squeeze: channel 4 c + 2 a + b of z holds the pixels (2 i + a, 2 j + b) of channel c.
Columns SqueezeColumns(const RowShape& shape);

/// A split is a coupling of the half that leaves, x2 = z2 sigma(x1) + mu(x1), after which that half is left alone.
density::v1::Coupling CouplingOfSplit(const density::v1::Split& split, const RowShape& shape);

/// Rows of `spec` that are computed at once without needless memory: fewer than usual where convolutions hold many
/// numbers per row. At most `most`. Precondition: `spec` is checked and has its defaults.
int64_t RowsAtOnce(const density::v1::FlowSpec& spec, int64_t most);

}  // namespace densityd::flow
