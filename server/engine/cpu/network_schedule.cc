#include "server/engine/cpu/network_schedule.h"

#include <algorithm>

namespace densityd::engine::cpu {
namespace {

/// Hidden units that a block of degrees should have at least: whole panels and whole lines, without much padding.
constexpr size_t kBlockUnits = 32;

bool GivesZeros(ActivationKind activation) { return activation == ActivationKind::kRelu; }

}  // namespace

size_t Units::CountUpTo(int64_t degree) const {
  return std::upper_bound(degrees.begin(), degrees.end(), degree) - degrees.begin();
}

NetworkSchedule::NetworkSchedule(const Network& network, const Units& inputs, Columns columns, ProgramBuilder& builder)
    : builder_(&builder) {
  units_.push_back(inputs);
  if (network.residual) {
    LayOutResidual(network, columns);
  } else {
    LayOutMlp(network, columns);
  }
}

size_t NetworkSchedule::AddUnits(const Linear& linear, bool sparse) {
  units_.push_back({builder_->Allocate(linear.units()), linear.units(), linear.degrees, sparse});
  return units_.size() - 1;
}

void NetworkSchedule::LayOutMlp(const Network& network, Columns columns) {
  // Two sets of columns are enough where layers take turns.
  Column turns[2] = {};
  const size_t hidden = network.layers.size() - 1;
  if (columns == Columns::kReused) {
    size_t widest = 0;
    for (size_t i = 0; i < hidden; ++i) widest = std::max(widest, network.layers[i].units());
    for (Column& turn : turns) turn = builder_->Allocate(widest);
  }
  const bool sparse = GivesZeros(network.activation);
  for (size_t i = 0; i < hidden; ++i) {
    const Linear& linear = network.layers[i];
    if (columns == Columns::kReused) {
      units_.push_back({turns[i % 2], linear.units(), linear.degrees, sparse});
    } else {
      AddUnits(linear, sparse);
    }
    stages_.push_back({NetworkStage::Kind::kDense, &linear, i, i + 1, network.activation});
  }
  LayOutOutputs(network, hidden);
}

void NetworkSchedule::LayOutResidual(const Network& network, Columns columns) {
  using Kind = NetworkStage::Kind;
  const ActivationKind activation = network.activation;
  const bool sparse = GivesZeros(activation);
  const Linear& input = network.layers.front();
  const size_t h = AddUnits(input, false);
  stages_.push_back({Kind::kDense, &input, 0, h, ActivationKind::kIdentity});
  size_t activated = 0, inner = 0, change = 0;
  for (size_t i = 1; i + 2 < network.layers.size(); i += 2) {
    const Linear& first = network.layers[i];
    const Linear& second = network.layers[i + 1];
    if (i == 1 || columns == Columns::kKept) {
      activated = AddUnits(first, sparse);
      inner = AddUnits(first, sparse);
      change = AddUnits(second, false);
    }
    stages_.push_back({Kind::kActivate, nullptr, h, activated, activation});
    stages_.push_back({Kind::kDense, &first, activated, inner, activation});
    stages_.push_back({Kind::kDense, &second, inner, change, ActivationKind::kIdentity});
    stages_.push_back({Kind::kAdd, nullptr, change, h, ActivationKind::kIdentity});
  }
  LayOutOutputs(network, h);
}

void NetworkSchedule::LayOutOutputs(const Network& network, size_t from) {
  const Linear& last = network.layers.back();
  output_ = units_.size();
  units_.push_back({0, last.units(), last.degrees, false});
  stages_.push_back({NetworkStage::Kind::kDense, &last, from, output_, ActivationKind::kIdentity});
}

void NetworkSchedule::AllocateOutputs(size_t count) {
  if (count <= output_columns_) return;
  units_[output_].first = builder_->Allocate(count);
  output_columns_ = count;
}

DensePart NetworkSchedule::PartOf(const NetworkStage& stage, Range units, Range inputs) const {
  DensePart part;
  part.units = units;
  part.inputs = inputs;
  part.input_column = units_[stage.from].first;
  part.output_column =
      stage.to == output_ ? OutputColumn(units.begin) : units_[stage.to].first + static_cast<Column>(units.begin);
  part.sparse_input = units_[stage.from].sparse;
  return part;
}

void NetworkSchedule::EmitUnits(const NetworkStage& stage, Range units) {
  const Column from = units_[stage.from].first + static_cast<Column>(units.begin);
  const Column to = units_[stage.to].first + static_cast<Column>(units.begin);
  if (stage.kind == NetworkStage::Kind::kActivate) {
    builder_->Activate(from, to, units.size(), stage.activation);
  } else {
    builder_->Add(from, to, units.size());
  }
}

void NetworkSchedule::EmitHidden() {
  for (const NetworkStage& stage : stages_) {
    if (stage.to == output_) continue;
    const Range units = {0, units_[stage.to].count};
    if (stage.kind == NetworkStage::Kind::kDense) {
      DensePart part = PartOf(stage, units, {0, stage.linear->inputs()});
      part.activation = stage.activation;
      builder_->Dense(*stage.linear, part);
    } else {
      EmitUnits(stage, units);
    }
  }
}

void NetworkSchedule::EmitOutputs(Range outputs) {
  AllocateOutputs(outputs.size());
  first_output_ = outputs.begin;
  const NetworkStage& last = stages_.back();
  builder_->Dense(*last.linear, PartOf(last, outputs, {0, last.linear->inputs()}));
}

Range NetworkSchedule::UnitsOf(size_t units, Degrees degrees) const {
  return {units_[units].CountUpTo(degrees.after), units_[units].CountUpTo(degrees.up_to)};
}

int64_t NetworkSchedule::BlockEnd(int64_t begin, int64_t features) const {
  // The narrowest hidden layer decides; without one, outputs are all there is.
  int64_t end = begin + 1;
  for (size_t units = 1; units < units_.size(); ++units) {
    if (units == output_) continue;
    while (end < features && UnitsOf(units, {begin, end}).size() < kBlockUnits) ++end;
  }
  return end;
}

size_t NetworkSchedule::LargestBlock(int64_t features) const {
  size_t largest = 0;
  for (int64_t begin = 0; begin < features;) {
    const int64_t end = BlockEnd(begin, features);
    largest = std::max(largest, UnitsOf(output_, {begin - 1, end - 1}).size());
    begin = end;
  }
  return largest;
}

void NetworkSchedule::EmitEarlier(int64_t begin, int64_t end) {
  // Everything that the block's units take from earlier degrees, as one product for each layer.
  if (end - begin == 1) return;
  for (const NetworkStage& stage : stages_) {
    if (stage.kind != NetworkStage::Kind::kDense) continue;
    const Degrees degrees = stage.to == output_ ? Degrees{begin - 1, end - 1} : Degrees{begin, end};
    builder_->Dense(*stage.linear, PartOf(stage, UnitsOf(stage.to, degrees), UnitsOf(stage.from, {-1, begin})));
  }
}

void NetworkSchedule::EmitOutputsOf(int64_t begin, int64_t degree, bool blocked) {
  const NetworkStage& last = stages_.back();
  DensePart part =
      PartOf(last, UnitsOf(output_, {degree - 1, degree}), UnitsOf(last.from, {blocked ? begin : -1, degree}));
  part.accumulate = blocked;
  builder_->Dense(*last.linear, part);
}

void NetworkSchedule::EmitHiddenOf(Degrees degrees, Degrees from_degrees) {
  for (const NetworkStage& stage : stages_) {
    if (stage.to == output_) continue;
    const Range units = UnitsOf(stage.to, degrees);
    if (stage.kind != NetworkStage::Kind::kDense) {
      EmitUnits(stage, units);
      continue;
    }
    DensePart part = PartOf(stage, units, UnitsOf(stage.from, from_degrees));
    // Units that begin a solve, and those of blocks of one degree, have nothing to go on from.
    part.accumulate = from_degrees.after >= 0;
    part.activation = stage.activation;
    builder_->Dense(*stage.linear, part);
  }
}

void NetworkSchedule::EmitGiven(Degrees degrees, int64_t features) {
  // Hidden units of degree `up_to` are complete once they have what those of their own degree give.
  const bool first = degrees.after < 0;
  for (const NetworkStage& stage : stages_) {
    const Range complete = UnitsOf(stage.to, degrees);
    if (stage.kind != NetworkStage::Kind::kDense) {
      EmitUnits(stage, complete);
      continue;
    }
    DensePart part = PartOf(stage, UnitsOf(stage.to, {degrees.after, features}), UnitsOf(stage.from, degrees));
    part.accumulate = !first;
    part.activation = stage.activation;
    part.activated = complete.size();
    builder_->Dense(*stage.linear, part);
  }
}

}  // namespace densityd::engine::cpu
