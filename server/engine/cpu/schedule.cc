#include "server/engine/cpu/schedule.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "server/engine/cpu/describe.h"
#include "server/engine/cpu/network_schedule.h"

namespace densityd::engine::cpu {
namespace {

/// Parameters that are computed before they are used, as columns of a tile: 64 KiB, so that they stay in the cache.
constexpr size_t kMaxParameterColumns = 256;
constexpr double kHalfLog2Pi = 0.918938533204672741780329736406;

/// (x - center) * factor. The centre is split in two, so that data far from zero keeps its digits.
MapEntry InverseEntry(Column column, double center, double factor) {
  MapEntry entry;
  entry.in = entry.out = column;
  entry.center = static_cast<float>(center);
  entry.factor = static_cast<float>(factor);
  entry.offset = static_cast<float>((static_cast<double>(entry.center) - center) * factor);
  return entry;
}

/// z / factor + center.
MapEntry ForwardEntry(Column column, double center, double factor) {
  MapEntry entry;
  entry.in = entry.out = column;
  entry.factor = static_cast<float>(1 / factor);
  entry.offset = static_cast<float>(center);
  return entry;
}

/// Emits layer after layer. Columns of the data move as little as possible: a permutation only renames them.
class Schedule {
 public:
  Schedule(const LoweredFlow& flow, Direction direction, Layout layout, PackedWeights& weights)
      : flow_(flow), direction_(direction), builder_(layout, weights), columns_(flow.features) {
    data_ = builder_.Allocate(flow.features);
    // The context stands right before the columns that conditioners read.
    builder_.program().context = builder_.Allocate(flow.context_features + flow.features);
    std::iota(columns_.begin(), columns_.end(), data_);
    builder_.program().input = columns_;
  }

  Program Build() {
    EmitContext();
    EmitLayers();
    builder_.program().output = columns_;
    return builder_.Take();
  }

 private:
  bool forward() const { return direction_ == Direction::kForward; }
  Column context() { return builder_.program().context; }
  void AddLogAbsDet(double log_abs_det_of_inverse) {
    builder_.program().log_abs_det += forward() ? -log_abs_det_of_inverse : log_abs_det_of_inverse;
  }

  void EmitLayers() {
    const auto emit = [this](const LoweredLayer& layer) {
      builder_.Begin(NameLayer(layer));
      std::visit([this](const auto& one) { Emit(one); }, layer);
    };
    if (forward()) {
      std::for_each(flow_.layers.rbegin(), flow_.layers.rend(), emit);
    } else {
      std::for_each(flow_.layers.begin(), flow_.layers.end(), emit);
    }
  }

  void EmitContext() {
    for (size_t j = 0; j < flow_.context.center.size(); ++j) {
      builder_.program().context_affine.push_back({flow_.context.center[j], flow_.context.factor[j]});
    }
  }

  void Emit(const DiagonalLayer& layer) {
    for (double factor : layer.factor) AddLogAbsDet(std::log(std::abs(factor)));
    const bool is_first = &layer == std::get_if<DiagonalLayer>(&flow_.layers.front());
    if (is_first && flow_.edge.columns.empty()) return EmitAtEdge(layer);
    std::vector<MapEntry> entries;
    for (size_t j = 0; j < columns_.size(); ++j) {
      entries.push_back(forward() ? ForwardEntry(columns_[j], layer.center[j], layer.factor[j])
                                  : InverseEntry(columns_[j], layer.center[j], layer.factor[j]));
    }
    builder_.Map(MapKind::kLinear, 0, entries);
  }

  /// The layer that touches the data is applied where rows are read or written.
  void EmitAtEdge(const DiagonalLayer& layer) {
    Program& program = builder_.program();
    for (size_t j = 0; j < columns_.size(); ++j) {
      if (forward()) {
        program.output_affine.push_back({layer.center[j], 1 / layer.factor[j]});
      } else {
        program.input_affine.push_back({layer.center[j], layer.factor[j]});
      }
    }
  }

  void Emit(const PermutationLayer& layer) {
    std::vector<Column> renamed(columns_.size());
    for (size_t j = 0; j < columns_.size(); ++j) {
      if (forward()) {
        renamed[layer.columns[j]] = columns_[j];
      } else {
        renamed[j] = columns_[layer.columns[j]];
      }
    }
    columns_ = std::move(renamed);
  }

  void Emit(const MatrixLayer& layer) {
    const size_t features = columns_.size();
    Linear linear;
    linear.weight = Matrix64(features, features);
    const Matrix64& matrix = forward() ? layer.inverse : layer.matrix;
    for (size_t i = 0; i < features; ++i) {
      // Inputs are read where the columns happen to stand.
      for (size_t j = 0; j < features; ++j) linear.weight(i, columns_[j] - data_) = matrix(i, j);
    }
    linear.bias = layer.shift;
    if (forward()) {
      linear.bias = Multiply(layer.inverse, layer.shift);
      for (double& number : linear.bias) number = -number;
    }
    if (other_data_ == kNoColumn) other_data_ = builder_.Allocate(features);
    DensePart part;
    part.units = part.inputs = {0, features};
    part.input_column = data_;
    part.output_column = other_data_;
    builder_.Dense(linear, part);
    std::swap(data_, other_data_);
    std::iota(columns_.begin(), columns_.end(), data_);
    AddLogAbsDet(layer.log_abs_det);
  }

  void Emit(const BijectionLayer& layer) {
    std::vector<MapEntry> entries;
    for (int64_t column : layer.columns) {
      MapEntry entry;
      entry.in = entry.out = columns_[column];
      entries.push_back(entry);
    }
    builder_.Map(forward() ? layer.forward : layer.inverse, forward() ? layer.forward_constant : layer.inverse_constant,
                 entries);
    AddLogAbsDet(layer.log_abs_det);
  }

  void Emit(const ConditionedLayer& layer) {
    const Column mark = builder_.mark();
    const Linear& first = layer.network.layers.front();
    const Units inputs = {context(), first.inputs(), first.input_degrees, false};
    if (layer.autoregressive && layer.parallel_inverse == forward()) {
      EmitSolve(layer, inputs);
    } else {
      EmitParallel(layer, inputs);
    }
    builder_.Release(mark);
  }

  /// The column where a conditioner reads its input i.
  Column ConditionerInput(size_t i) { return context() + static_cast<Column>(flow_.context_features + i); }

  /// Output i of the layer under its univariate map, with the parameters that stand from `parameters` on.
  MapEntry EntryOf(const ConditionedLayer& layer, size_t i, Column parameters) const {
    MapEntry entry;
    entry.in = entry.out = columns_[layer.outputs[i]];
    entry.parameters = parameters;
    return entry;
  }

  void EmitMap(const UnivariateMap& map, const std::vector<MapEntry>& entries) {
    MapStep step;
    step.kind = forward() ? map.forward : map.inverse;
    step.constant = static_cast<float>(map.constant);
    step.parameters = map.parameters;
    step.affine = map.affine;
    step.spline = map.spline;
    builder_.Map(step, entries);
  }

  void EmitParallel(const ConditionedLayer& layer, const Units& inputs) {
    std::vector<ColumnCopy> copies;
    for (size_t i = 0; i < layer.inputs.size(); ++i) copies.push_back({columns_[layer.inputs[i]], ConditionerInput(i)});
    builder_.Copy(copies);
    NetworkSchedule network(layer.network, inputs, NetworkSchedule::Columns::kReused, builder_);
    network.EmitHidden();
    const size_t parameters = layer.univariate.parameters;
    const size_t group = std::max<size_t>(1, kMaxParameterColumns / parameters);
    for (size_t begin = 0; begin < layer.outputs.size(); begin += group) {
      const size_t end = std::min(begin + group, layer.outputs.size());
      network.EmitOutputs({begin * parameters, end * parameters});
      std::vector<MapEntry> entries;
      for (size_t i = begin; i < end; ++i) entries.push_back(EntryOf(layer, i, network.OutputColumn(i * parameters)));
      EmitMap(layer.univariate, entries);
    }
  }

  void EmitSolve(const ConditionedLayer& layer, const Units& inputs) {
    NetworkSchedule network(layer.network, inputs, NetworkSchedule::Columns::kKept, builder_);
    network.EmitSolve(static_cast<int64_t>(columns_.size()), [&](int64_t i) {
      MapEntry entry = EntryOf(layer, i, network.OutputColumn(i * layer.univariate.parameters));
      entry.copy = ConditionerInput(i);
      EmitMap(layer.univariate, {entry});
    });
  }

  const LoweredFlow& flow_;
  const Direction direction_;
  ProgramBuilder builder_;
  std::vector<Column> columns_;  ///< where column j of the data stands now
  Column data_ = 0;              ///< the columns are data_ … data_ + D - 1, in some order
  Column other_data_ = kNoColumn;
};

/// Mean and log scale of the base's column j.
double BaseMean(const LoweredFlow& flow, size_t j) { return flow.base_mean.empty() ? 0 : flow.base_mean[j]; }
double BaseLogScale(const LoweredFlow& flow, size_t j) {
  return flow.base_log_scale.empty() ? 0 : flow.base_log_scale[j];
}

}  // namespace

Program MakeProgram(const LoweredFlow& flow, Direction direction, Layout layout, PackedWeights& weights) {
  return Schedule(flow, direction, layout, weights).Build();
}

Program MakeBaseDensity(const LoweredFlow& flow, const std::vector<Column>& z) {
  PackedWeights none;
  ProgramBuilder builder(Layout::kTile, none);
  builder.Begin(NameBase(flow));
  std::vector<MapEntry> entries;
  for (size_t j = 0; j < z.size(); ++j) {
    entries.push_back(InverseEntry(z[j], BaseMean(flow, j), std::exp(-BaseLogScale(flow, j))));
    builder.program().log_abs_det -= kHalfLog2Pi + BaseLogScale(flow, j);
  }
  builder.Map(MapKind::kNormalLogDensity, 1, entries);
  return builder.Take();
}

Program MakeBaseSample(const LoweredFlow& flow, const std::vector<Column>& z) {
  PackedWeights none;
  ProgramBuilder builder(Layout::kTile, none);
  builder.Begin(NameBase(flow));
  std::vector<MapEntry> noise;
  std::vector<MapEntry> base;
  for (size_t j = 0; j < z.size(); ++j) {
    noise.push_back(InverseEntry(z[j], 0, 1));
    base.push_back(ForwardEntry(z[j], BaseMean(flow, j), std::exp(-BaseLogScale(flow, j))));
    builder.program().log_abs_det += kHalfLog2Pi + BaseLogScale(flow, j);
  }
  builder.Map(MapKind::kNormalLogDensity, -1, noise);
  if (!flow.base_mean.empty()) builder.Map(MapKind::kLinear, 0, base);
  return builder.Take();
}

}  // namespace densityd::engine::cpu
