#include "server/engine/cpu/builder.h"

#include <algorithm>
#include <utility>

namespace densityd::engine::cpu {
namespace {

/// Columns of a tile that fit the second-level cache beside the weights: 128 KiB.
constexpr size_t kMaxDepth = 512;
/// Triangular parts lose less to padding in narrower strips.
constexpr size_t kMaskedStripUnits = 64;

size_t RoundUp(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

/// Inputs of `part` that any unit of `units` depends on, as a count from part.inputs.begin.
size_t DepthOf(const Linear& linear, const DensePart& part, Range units) {
  size_t reach = 0;
  for (size_t unit = units.begin; unit < units.end; ++unit) reach = std::max(reach, linear.Reach(unit));
  reach = std::min(reach, part.inputs.end);
  return reach > part.inputs.begin ? reach - part.inputs.begin : 0;
}

/// `units` cut into pieces of at most `most`, as even as they can be.
std::vector<Range> Pieces(Range units, size_t most) {
  std::vector<Range> pieces;
  const size_t count = (units.size() + most - 1) / most;
  for (size_t i = 0; i < count; ++i) {
    pieces.push_back({units.begin + units.size() * i / count, units.begin + units.size() * (i + 1) / count});
  }
  return pieces;
}

/// Weights of `units`, depth by depth, each line padded with zeros to `width`.
void AppendWeights(const Linear& linear, Range units, size_t first_input, size_t depth, size_t width,
                   std::vector<float>& to) {
  const size_t begin = to.size();
  to.resize(begin + depth * width);
  for (size_t unit = units.begin; unit < units.end; ++unit) {
    float* weight = to.data() + begin + (unit - units.begin);
    for (size_t k = first_input; k < first_input + depth; ++k, weight += width) {
      *weight = static_cast<float>(linear.weight(unit, k));
    }
  }
}

}  // namespace

size_t Linear::Reach(size_t unit) const {
  if (degrees.empty()) return inputs();
  return std::upper_bound(input_degrees.begin(), input_degrees.end(), degrees[unit]) - input_degrees.begin();
}

void ProgramBuilder::Begin(ProgramLayer layer) {
  layer.first_step = program_.steps.size();
  program_.layers.push_back(std::move(layer));
}

Column ProgramBuilder::Allocate(size_t count) {
  const Column first = next_column_;
  next_column_ += static_cast<Column>(RoundUp(count, kColumnPadding));
  program_.columns = std::max<size_t>(program_.columns, next_column_);
  return first;
}

void ProgramBuilder::Dense(const Linear& linear, const DensePart& part) {
  if (part.units.empty()) return;
  DensePart chunk = part;
  // Only a tile's columns are too large for the cache. A last chunk of a few inputs is not worth another pass over the
  // outputs.
  while (layout_ == Layout::kTile && chunk.inputs.size() > kMaxDepth + kMaxDepth / 2) {
    const size_t end = chunk.inputs.end;
    chunk.inputs.end = chunk.inputs.begin + kMaxDepth;
    chunk.activation = ActivationKind::kIdentity;
    DenseChunk(linear, chunk);
    chunk.inputs = {chunk.inputs.end, end};
    chunk.accumulate = true;
  }
  chunk.activation = part.activation;
  DenseChunk(linear, chunk);
}

void ProgramBuilder::DenseChunk(const Linear& linear, const DensePart& part) {
  const bool nothing_to_add = DepthOf(linear, part, part.units) == 0;
  const bool activates = part.activation != ActivationKind::kIdentity && part.activated > 0;
  if (nothing_to_add && part.accumulate && !activates) return;
  DenseStep step;
  step.input = part.input_column;
  step.output = part.output_column;
  step.accumulate = part.accumulate;
  step.sparse_input = part.sparse_input;
  step.activation = part.activation;
  step.activated = static_cast<uint32_t>(std::min(part.activated, part.units.size()));
  if (layout_ == Layout::kTile) {
    PackPanels(linear, part, step);
  } else {
    PackStrips(linear, part, step);
  }
  if (!part.accumulate) PackBiases(linear, part, step);
  program_.steps.push_back(step);
}

void ProgramBuilder::PackPanels(const Linear& linear, const DensePart& part, DenseStep& step) {
  step.first_panel = static_cast<uint32_t>(program_.panels.size());
  for (Range units : Pieces(part.units, kPanelUnits)) {
    const size_t depth = DepthOf(linear, part, units);
    program_.panels.push_back({static_cast<uint32_t>(units.begin - part.units.begin),
                               static_cast<uint32_t>(units.size()), static_cast<uint32_t>(part.inputs.begin),
                               static_cast<uint32_t>(depth), weights_->panels.size()});
    AppendWeights(linear, units, part.inputs.begin, depth, units.size(), weights_->panels);
  }
  step.panel_count = static_cast<uint32_t>(program_.panels.size()) - step.first_panel;
}

void ProgramBuilder::PackStrips(const Linear& linear, const DensePart& part, DenseStep& step) {
  step.first_strip = static_cast<uint32_t>(program_.strips.size());
  const bool triangular =
      DepthOf(linear, part, {part.units.begin, part.units.begin + 1}) < DepthOf(linear, part, part.units);
  const size_t most = triangular ? kMaskedStripUnits : kStripUnits;
  for (size_t begin = part.units.begin; begin < part.units.end; begin += most) {
    const Range units = {begin, std::min(begin + most, part.units.end)};
    const size_t depth = DepthOf(linear, part, units);
    const size_t width = RoundUp(units.size(), kColumnPadding);
    program_.strips.push_back({static_cast<uint32_t>(units.begin - part.units.begin),
                               static_cast<uint32_t>(units.size()), static_cast<uint32_t>(width),
                               static_cast<uint32_t>(part.inputs.begin), static_cast<uint32_t>(depth),
                               weights_->strips.size()});
    AppendWeights(linear, units, part.inputs.begin, depth, width, weights_->strips);
  }
  step.strip_count = static_cast<uint32_t>(program_.strips.size()) - step.first_strip;
}

void ProgramBuilder::PackBiases(const Linear& linear, const DensePart& part, DenseStep& step) {
  step.bias = weights_->biases.size();
  for (size_t unit = part.units.begin; unit < part.units.end; ++unit) {
    weights_->biases.push_back(static_cast<float>(linear.bias[unit]) + 0.0f);
  }
  weights_->biases.resize(RoundUp(weights_->biases.size(), kColumnPadding) + kColumnPadding);
}

void ProgramBuilder::Activate(Column from, Column to, size_t count, ActivationKind activation) {
  if (count > 0) program_.steps.push_back(ActivateStep{from, to, static_cast<uint32_t>(count), activation});
}

void ProgramBuilder::Add(Column from, Column to, size_t count) {
  if (count > 0) program_.steps.push_back(AddStep{from, to, static_cast<uint32_t>(count)});
}

void ProgramBuilder::Copy(const std::vector<ColumnCopy>& copies) {
  if (copies.empty()) return;
  program_.steps.push_back(
      CopyStep{static_cast<uint32_t>(program_.copies.size()), static_cast<uint32_t>(copies.size())});
  program_.copies.insert(program_.copies.end(), copies.begin(), copies.end());
}

void ProgramBuilder::Map(MapKind kind, float constant, const std::vector<MapEntry>& entries) {
  MapStep map;
  map.kind = kind;
  map.constant = constant;
  Map(map, entries);
}

void ProgramBuilder::Map(MapStep map, const std::vector<MapEntry>& entries) {
  if (entries.empty()) return;
  map.first = static_cast<uint32_t>(program_.entries.size());
  map.count = static_cast<uint32_t>(entries.size());
  program_.steps.push_back(map);
  program_.entries.insert(program_.entries.end(), entries.begin(), entries.end());
}

Program ProgramBuilder::Take() { return std::move(program_); }

}  // namespace densityd::engine::cpu
