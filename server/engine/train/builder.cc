#include "server/engine/train/builder.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace densityd::engine::train {
namespace {

// Behind the table: kernels read whole groups of columns.
constexpr size_t kSpareColumns = 16;

std::vector<UnitChunk> ChunkUnits(const std::vector<uint32_t>& reach) {
  const auto units = static_cast<uint32_t>(reach.size());
  const uint32_t count = (units + kBlockUnits - 1) / kBlockUnits;
  std::vector<UnitChunk> chunks;
  for (uint32_t i = 0, first = 0; i < count; ++i) {
    // Of sizes as equal as can be: a block of one unit costs nearly as much as one of three.
    const uint32_t end = static_cast<uint32_t>(uint64_t{units} * (i + 1) / count);
    chunks.push_back({first, end - first, reach[end - 1]});
    first = end;
  }
  return chunks;
}

std::vector<InputChunk> ChunkInputs(const std::vector<uint32_t>& reach, uint32_t inputs) {
  std::vector<InputChunk> chunks;
  for (uint32_t panel = 0; panel < inputs; panel += kPanelInputs) {
    const uint32_t width = std::min<uint32_t>(kPanelInputs, inputs - panel);
    const uint32_t count = (width + kBlockUnits - 1) / kBlockUnits;
    for (uint32_t i = 0, first = panel; i < count; ++i) {
      const uint32_t end = panel + width * (i + 1) / count;
      const auto sees = std::upper_bound(reach.begin(), reach.end(), first);
      chunks.push_back({first, end - first, static_cast<uint32_t>(sees - reach.begin())});
      first = end;
    }
  }
  return chunks;
}

std::vector<uint32_t> Reach(const StoredLinear& stored) {
  const auto inputs = static_cast<uint32_t>(stored.inputs.order.size());
  std::vector<uint32_t> reach;
  for (size_t unit = 0; unit < stored.outputs.order.size(); ++unit) {
    if (stored.outputs.degrees.empty()) {
      reach.push_back(inputs);
      continue;
    }
    const auto& degrees = stored.inputs.degrees;
    const auto end = std::upper_bound(degrees.begin(), degrees.end(), stored.outputs.degrees[unit]);
    reach.push_back(static_cast<uint32_t>(end - degrees.begin()));
  }
  return reach;
}

Position PositionOf(const Linear& linear, size_t unit, size_t input) {
  if (input >= linear.reach[unit]) return kNowhere;
  return static_cast<Position>(linear.weights + input / kPanelInputs * linear.panel_step + unit * kPanelInputs +
                               input % kPanelInputs);
}

// Says of each step, from the last to the first, whether it is the first to write a gradient.
class Writes {
 public:
  explicit Writes(size_t columns) : is_written_(columns) {}

  // Whether there is something already; from now on there is.
  bool Write(const Columns& columns) {
    if (!columns.has_gradient() || columns.count == 0) return false;
    const bool adds = is_written_[columns.gradient];
    Mark(columns, true);
    return adds;
  }
  // The step that made the columns has read the gradient: their place is free.
  void Free(const Columns& columns) {
    if (columns.has_gradient()) Mark(columns, false);
  }

  void operator()(LinearStep& step) {
    if (!step.accumulates) Free(step.out);
    step.adds = Write(step.in);
  }
  void operator()(ActivateStep& step) { Between(step); }
  void operator()(DropoutStep& step) { Between(step); }
  void operator()(ReflectStep& step) { Through(step); }
  void operator()(SolveStep& step) { Through(step); }
  template <typename EntriesStep>
  void operator()(EntriesStep& step) {
    for (auto& entry : step.entries) {
      Free(ToOf(entry));
      entry.adds = Write(FromOf(entry));
    }
  }

 private:
  template <typename ColumnsStep>
  void Between(ColumnsStep& step) {
    Free(step.to);
    step.adds = Write(step.from);
  }

  template <typename RowStep>
  void Through(RowStep& step) {
    Free(step.out);
    step.adds = Write(step.in);
  }

  static const Columns& FromOf(const CopyStep::Entry& entry) { return entry.from; }
  static const Columns& ToOf(const CopyStep::Entry& entry) { return entry.to; }
  template <typename Entry>
  static const Columns& FromOf(const Entry& entry) {
    return entry.in;
  }
  template <typename Entry>
  static const Columns& ToOf(const Entry& entry) {
    return entry.out;
  }

  void Mark(const Columns& columns, bool written) {
    std::fill_n(is_written_.begin() + columns.gradient, columns.count, written);
  }

  std::vector<bool> is_written_;
};

}  // namespace

Columns Builder::NewRowColumns(uint32_t count, bool has_gradient) {
  Columns columns{static_cast<Column>(program_.value_columns), kNoColumn, count};
  program_.value_columns += count;
  if (has_gradient) {
    columns.gradient = static_cast<Column>(row_gradients_);
    row_gradients_ += count;
  }
  return columns;
}

Columns Builder::NewNetworkColumns(uint32_t count, bool has_gradient) {
  Columns columns{static_cast<Column>(program_.value_columns), kNoColumn, count};
  program_.value_columns += count;
  if (has_gradient) {
    columns.gradient = static_cast<Column>(first_network_column_ + network_gradients_);
    network_gradients_ += count;
    most_network_gradients_ = std::max(most_network_gradients_, network_gradients_);
  }
  return columns;
}

Linear Builder::NewLinear(std::vector<uint32_t> reach, uint32_t inputs) {
  Linear linear;
  linear.units = static_cast<uint32_t>(reach.size());
  linear.inputs = inputs;
  const uint32_t panels = (inputs + kPanelInputs - 1) / kPanelInputs;
  // Panels a power of two apart would meet in the same sets of the caches.
  linear.panel_step = static_cast<Position>(linear.units * kPanelInputs + (linear.units % 64 == 0 ? kPanelInputs : 0));
  linear.weights = layout_.Reserve(size_t{panels} * linear.panel_step);
  linear.unit_chunks = ChunkUnits(reach);
  linear.input_chunks = ChunkInputs(reach, inputs);
  for (uint32_t panel = 0; panel < panels; ++panel) {
    const uint32_t first_input = panel * kPanelInputs;
    const auto sees = std::upper_bound(reach.begin(), reach.end(), first_input);
    const auto first_unit = static_cast<uint32_t>(sees - reach.begin());
    layout_.MarkLearnt(linear.weights + panel * linear.panel_step + first_unit * kPanelInputs,
                       size_t{linear.units - first_unit} * kPanelInputs);
  }
  for (uint32_t unit_reach : reach) program_.multiply_adds += unit_reach;
  linear.reach = std::move(reach);
  return linear;
}

Linear Builder::AddLinear(const StoredLinear& stored) {
  const size_t units = stored.outputs.order.size();
  const size_t inputs = stored.inputs.order.size();
  Linear linear = NewLinear(Reach(stored), static_cast<uint32_t>(inputs));
  linear.bias = AddNumbers(units);
  TensorPlace weight{stored.weight, {static_cast<int64_t>(units), static_cast<int64_t>(inputs)}, {}};
  TensorPlace bias{stored.bias, {static_cast<int64_t>(units)}, std::vector<Position>(units)};
  weight.where.resize(units * inputs);
  for (size_t unit = 0; unit < units; ++unit) {
    const auto row = static_cast<size_t>(stored.outputs.order[unit]);
    bias.where[row] = static_cast<Position>(linear.bias + unit);
    for (size_t input = 0; input < inputs; ++input) {
      weight.where[row * inputs + static_cast<size_t>(stored.inputs.order[input])] = PositionOf(linear, unit, input);
    }
  }
  layout_.AddTensor(std::move(weight));
  layout_.AddTensor(std::move(bias));
  return linear;
}

Linear Builder::AddTriangle(const std::vector<int64_t>& order, std::vector<Position>& where) {
  const size_t size = order.size();
  std::vector<uint32_t> reach(size);
  std::iota(reach.begin(), reach.end(), 0);
  Linear linear = NewLinear(std::move(reach), static_cast<uint32_t>(size));
  for (size_t unit = 0; unit < size; ++unit) {
    for (size_t input = 0; input < unit; ++input) {
      where[static_cast<size_t>(order[unit]) * size + static_cast<size_t>(order[input])] =
          PositionOf(linear, unit, input);
    }
  }
  return linear;
}

Position Builder::AddNumbers(size_t count) {
  const Position begin = layout_.Reserve(count);
  layout_.MarkLearnt(begin, count);
  return begin;
}

Position Builder::AddVector(const std::string& name, std::vector<int64_t> shape) {
  size_t count = 1;
  for (int64_t size : shape) count *= static_cast<size_t>(size);
  const Position begin = AddNumbers(count);
  TensorPlace place{name, std::move(shape), std::vector<Position>(count)};
  std::iota(place.where.begin(), place.where.end(), begin);
  layout_.AddTensor(std::move(place));
  return begin;
}

void Builder::Finish() {
  program_.gradient_columns = first_network_column_ + most_network_gradients_ + kSpareColumns;
  program_.value_columns += kSpareColumns;
  Writes writes(program_.gradient_columns);
  for (const Columns& column : program_.base) writes.Write(column);
  for (auto step = program_.steps.rbegin(); step != program_.steps.rend(); ++step) std::visit(writes, *step);
}

}  // namespace densityd::engine::train
