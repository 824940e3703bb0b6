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
  if (columns == Columns::kReused) {
    size_t widest = 0;
    for (const Linear& linear : network.layers) widest = std::max(widest, linear.units());
    for (Column& turn : turns) turn = builder_->Allocate(widest);
  }
  for (size_t i = 0; i < network.layers.size(); ++i) {
    const Linear& linear = network.layers[i];
    const bool last = i + 1 == network.layers.size();
    const ActivationKind activation = last ? ActivationKind::kIdentity : network.activation;
    if (columns == Columns::kReused) {
      units_.push_back({turns[i % 2], linear.units(), linear.degrees, GivesZeros(activation)});
    } else {
      AddUnits(linear, GivesZeros(activation));
    }
    stages_.push_back({NetworkStage::Kind::kDense, &linear, i, i + 1, activation});
  }
  output_ = units_.size() - 1;
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
  output_ = AddUnits(network.layers.back(), false);
  stages_.push_back({Kind::kDense, &network.layers.back(), h, output_, ActivationKind::kIdentity});
}

void NetworkSchedule::EmitDense(const NetworkStage& stage, Range units, Range inputs, bool accumulate,
                                ActivationKind activation) {
  DensePart part;
  part.units = units;
  part.inputs = inputs;
  part.input_column = units_[stage.from].first;
  part.output_column = units_[stage.to].first;
  part.accumulate = accumulate;
  part.sparse_input = units_[stage.from].sparse;
  part.activation = activation;
  builder_->Dense(*stage.linear, part);
}

void NetworkSchedule::EmitAll() {
  for (const NetworkStage& stage : stages_) {
    const Column from = units_[stage.from].first;
    const Column to = units_[stage.to].first;
    switch (stage.kind) {
      case NetworkStage::Kind::kDense:
        EmitDense(stage, {0, stage.linear->units()}, {0, stage.linear->inputs()}, false, stage.activation);
        break;
      case NetworkStage::Kind::kActivate:
        builder_->Activate(from, to, units_[stage.to].count, stage.activation);
        break;
      case NetworkStage::Kind::kAdd:
        builder_->Add(from, to, units_[stage.to].count);
        break;
    }
  }
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

void NetworkSchedule::EmitEarlier(int64_t begin, int64_t end) {
  // Everything that the block's units take from earlier degrees, as one product for each layer.
  if (end - begin == 1) return;
  for (const NetworkStage& stage : stages_) {
    if (stage.kind != NetworkStage::Kind::kDense) continue;
    const Degrees degrees = stage.to == output_ ? Degrees{begin - 1, end - 1} : Degrees{begin, end};
    EmitDense(stage, UnitsOf(stage.to, degrees), UnitsOf(stage.from, {-1, begin}), false, ActivationKind::kIdentity);
  }
}

void NetworkSchedule::EmitOutputs(int64_t begin, int64_t degree, bool blocked) {
  const NetworkStage& last = stages_.back();
  EmitDense(last, UnitsOf(output_, {degree - 1, degree}), UnitsOf(last.from, {blocked ? begin : -1, degree}), blocked,
            ActivationKind::kIdentity);
}

void NetworkSchedule::EmitHidden(Degrees degrees, Degrees from_degrees) {
  // Units that begin a solve, and those of blocks of one degree, have nothing to go on from.
  const bool accumulate = from_degrees.after >= 0;
  for (const NetworkStage& stage : stages_) {
    if (stage.to == output_) continue;
    const Range units = UnitsOf(stage.to, degrees);
    const Column from = units_[stage.from].first + static_cast<Column>(units.begin);
    const Column to = units_[stage.to].first + static_cast<Column>(units.begin);
    switch (stage.kind) {
      case NetworkStage::Kind::kDense:
        EmitDense(stage, units, UnitsOf(stage.from, from_degrees), accumulate, stage.activation);
        break;
      case NetworkStage::Kind::kActivate:
        builder_->Activate(from, to, units.size(), stage.activation);
        break;
      case NetworkStage::Kind::kAdd:
        builder_->Add(from, to, units.size());
        break;
    }
  }
}

}  // namespace densityd::engine::cpu
