#include "server/flow/row_shape.h"

#include <algorithm>
#include <cmath>

namespace densityd::flow {
namespace {

using density::v1::Conditioner;
using density::v1::FlowSpec;
using density::v1::Layer;
using density::v1::Mask;

/// Numbers of one activation of a network for all rows at once, 16 MiB in float32: ten of them, as many as a
/// coupling of images holds, are no burden on any machine.
constexpr int64_t kNumbersAtOnce = int64_t{1} << 22;

/// An ActNorm starts from more than one row.
constexpr int64_t kFewestRows = 8;

const Conditioner* ImageConditioner(const Layer& layer) {
  if (layer.has_coupling()) return &layer.coupling().conditioner();
  return layer.has_split() ? &layer.split().conditioner() : nullptr;
}

/// Pixels whose row + column is even (parity 0) or odd (1), in every channel.
Columns Checkerboard(const RowShape& shape, int64_t parity) {
  Columns columns;
  for (int64_t column = 0; column < shape.columns; ++column) {
    const int64_t pixel = column % shape.pixels();
    if ((pixel / shape.width + pixel % shape.width) % 2 == parity) columns.push_back(column);
  }
  return columns;
}

/// Of a split, what stays.
RowShape FirstHalf(const RowShape& shape) {
  if (!shape.is_image()) return {(shape.columns + 1) / 2};
  const int64_t channels = (shape.channels + 1) / 2;
  return {channels * shape.pixels(), channels, shape.height, shape.width};
}

}  // namespace

RowShape DataShape(const FlowSpec& spec) {
  return {spec.features(), spec.image().channels(), spec.image().height(), spec.image().width()};
}

RowShape ShapeAfter(const Layer& layer, const RowShape& shape) {
  if (layer.has_squeeze()) return {shape.columns, 4 * shape.channels, shape.height / 2, shape.width / 2};
  return layer.has_split() ? FirstHalf(shape) : shape;
}

std::vector<RowShape> LayerShapes(const FlowSpec& spec) {
  std::vector<RowShape> shapes;
  RowShape shape = DataShape(spec);
  for (const Layer& layer : spec.layers()) {
    shapes.push_back(shape);
    shape = ShapeAfter(layer, shape);
  }
  return shapes;
}

Columns TransformedColumns(const Mask& mask, const RowShape& shape) {
  if (mask.transformed_size() > 0) return TransformedColumns(mask, shape.columns);
  const int64_t first_channels = shape.channels / 2 * shape.pixels();
  switch (mask.pattern()) {
    case Mask::CHECKERBOARD_EVEN:
      return Checkerboard(shape, 0);
    case Mask::CHECKERBOARD_ODD:
      return Checkerboard(shape, 1);
    case Mask::FIRST_CHANNELS:
      return AllColumns(first_channels);
    case Mask::LAST_CHANNELS:
      return OtherColumns(AllColumns(first_channels), shape.columns);
    default:
      return TransformedColumns(mask, shape.columns);
  }
}

bool IsImagePattern(Mask::Pattern pattern) {
  return pattern >= Mask::CHECKERBOARD_EVEN && pattern <= Mask::LAST_CHANNELS;
}

Columns ChannelsWith(const Columns& columns, const RowShape& shape) {
  Columns channels;
  for (int64_t column : columns) {
    const int64_t channel = column / shape.pixels();
    if (channels.empty() || channels.back() != channel) channels.push_back(channel);
  }
  return channels;
}

Columns SqueezeColumns(const RowShape& shape) {
  Columns columns;
  columns.reserve(shape.columns);
  for (int64_t channel = 0; channel < shape.channels; ++channel) {
    for (int64_t corner = 0; corner < 4; ++corner) {
      for (int64_t row = corner / 2; row < shape.height; row += 2) {
        for (int64_t column = corner % 2; column < shape.width; column += 2) {
          columns.push_back((channel * shape.height + row) * shape.width + column);
        }
      }
    }
  }
  return columns;
}

density::v1::Coupling CouplingOfSplit(const density::v1::Split& split, const RowShape& shape) {
  density::v1::Coupling coupling;
  for (int64_t column = FirstHalf(shape).columns; column < shape.columns; ++column) {
    coupling.mutable_mask()->add_transformed(static_cast<uint32_t>(column));
  }
  auto& affine = *coupling.mutable_univariate()->mutable_affine();
  affine.set_scale_function(density::v1::Affine::TANH);
  affine.set_direction(density::v1::Affine::FORWARD);
  // As of a normal base.
  affine.set_max_log_scale(std::log(1e3));
  *coupling.mutable_conditioner() = split.conditioner();
  return coupling;
}

int64_t RowsAtOnce(const FlowSpec& spec, int64_t most) {
  const std::vector<RowShape> shapes = LayerShapes(spec);
  int64_t numbers = 1;
  for (int i = 0; i < spec.layers_size(); ++i) {
    const Conditioner* conditioner = ImageConditioner(spec.layers(i));
    if (conditioner == nullptr || !conditioner->has_conv_resnet()) continue;
    numbers = std::max(numbers, conditioner->conv_resnet().channels() * shapes[i].pixels());
  }
  return std::min(most, std::max(kFewestRows, kNumbersAtOnce / numbers));
}

}  // namespace densityd::flow
