#include "server/engine/cpu/cpu_plan.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "server/base/errors.h"
#include "server/engine/cpu/arena.h"
#include "server/engine/cpu/kernels.h"
#include "server/engine/cpu/lower.h"
#include "server/engine/cpu/row_io.h"
#include "server/engine/cpu/schedule.h"

namespace densityd::engine::cpu {
namespace {

/// Rows of a table in the row layout, for which there are kernels.
size_t PaddedFewRows(size_t rows) { return rows <= 2 ? rows : rows <= 4 ? 4 : 8; }

size_t RowsOf(absl::Span<const RowSpan> spans) {
  size_t rows = 0;
  for (const RowSpan& span : spans) rows += span.rows;
  return rows;
}

bool IsInverse(Op op) { return op == Op::kLogProb || op == Op::kInverse; }

template <typename Item>
size_t BytesOf(const std::vector<Item>& items) {
  return items.capacity() * sizeof(Item);
}

size_t BytesOf(const Program& program) {
  return sizeof(program) + BytesOf(program.steps) + BytesOf(program.panels) + BytesOf(program.strips) +
         BytesOf(program.copies) + BytesOf(program.entries) + BytesOf(program.input) + BytesOf(program.output);
}

class CpuPlan final : public Plan {
 public:
  explicit CpuPlan(const LoweredFlow& flow) {
    PackedWeights packed;
    inverse_ = MakeProgram(flow, Direction::kInverse, packed);
    forward_ = MakeProgram(flow, Direction::kForward, packed);
    base_density_ = MakeBaseDensity(flow, inverse_.output);
    base_sample_ = MakeBaseSample(flow, forward_.input);
    PlaceWeights(packed);
    columns_ = std::max(inverse_.columns, forward_.columns);
    info_.kind = "compiled-cpu";
    info_.device = "cpu";
    info_.instructions = TargetName();
    info_.precision = NumberType::kFloat32;
    info_.features = flow.features;
    info_.context_features = flow.context_features;
    info_.bytes = sizeof(*this) + arena_.bytes() + BytesOf(inverse_) + BytesOf(forward_) + BytesOf(base_density_) +
                  BytesOf(base_sample_);
    info_.tile_rows = kTileRows;
    info_.workspace_bytes = WorkspaceBytes();
    info_.rows_are_independent = true;
  }

  bool has_memory() const { return arena_.data() != nullptr; }

  const PlanInfo& info() const override { return info_; }

  absl::Status Run(Op op, absl::Span<const RowSpan> spans, Workspace& workspace) const override {
    const size_t rows = RowsOf(spans);
    if (rows == 0) return absl::OkStatus();
    if (rows > kTileRows) return InternalError("a run has more rows than the plan's tile");
    auto* memory = static_cast<float*>(workspace.Reserve(WorkspaceBytes()));
    if (memory == nullptr) return ResourceExhausted("memory", "not enough memory for a tile of rows");
    if (rows <= kMaxFewRows) {
      RunRows(op, spans, rows, memory);
    } else {
      RunTileOf(op, spans, rows, memory);
    }
    return absl::OkStatus();
  }

 private:
  /// Moves the packed weights into one block, each section on a cache line.
  void PlaceWeights(const PackedWeights& packed) {
    const auto lines = [](size_t count) { return (count + kLine - 1) / kLine * kLine; };
    const size_t strips_at = lines(packed.panels.size());
    const size_t biases_at = strips_at + lines(packed.strips.size());
    // At least one line, so that a flow without weights is no shortage of memory.
    arena_ = Arena(biases_at + lines(packed.biases.size()) + kLine);
    if (!has_memory()) return;
    std::copy(packed.panels.begin(), packed.panels.end(), arena_.data());
    std::copy(packed.strips.begin(), packed.strips.end(), arena_.data() + strips_at);
    std::copy(packed.biases.begin(), packed.biases.end(), arena_.data() + biases_at);
    weights_ = {arena_.data(), arena_.data() + strips_at, arena_.data() + biases_at};
  }

  /// A tile is the larger of the two tables: one size for both, so that a workspace grows once.
  size_t WorkspaceBytes() const { return (columns_ + 1) * kTileRows * sizeof(float); }

  const Program& MapOf(Op op) const { return IsInverse(op) ? inverse_ : forward_; }

  void RunTileOf(Op op, absl::Span<const RowSpan> spans, size_t rows, float* memory) const {
    const TileTable table = {memory + kTileRows, memory, rows};
    const TablePlace place = {table.numbers, table.log, 1, kTileRows, (rows + kLine - 1) / kLine * kLine};
    ReadRowsIntoTable(op, spans, MapOf(op), place);
    RunPrograms(op, [&](const Program& program) { RunTile(program, weights_, table); });
    Write(op, spans, place);
  }

  void RunRows(Op op, absl::Span<const RowSpan> spans, size_t rows, float* memory) const {
    // [log][indices of inputs][rows of the table]; the columns are whole cache lines.
    RowTable table;
    table.rows = PaddedFewRows(rows);
    table.stride = columns_;
    table.log = memory;
    table.inputs = reinterpret_cast<uint32_t*>(memory + kLine);
    table.numbers = memory + kLine + columns_;
    const TablePlace place = {table.numbers, table.log, table.stride, 1, table.rows};
    ReadRowsIntoTable(op, spans, MapOf(op), place);
    RunPrograms(op, [&](const Program& program) { RunFewRows(program, weights_, table); });
    Write(op, spans, place);
  }

  template <typename RunProgram>
  void RunPrograms(Op op, const RunProgram& run) const {
    if (op == Op::kSample) run(base_sample_);
    run(MapOf(op));
    if (op == Op::kLogProb) run(base_density_);
  }

  void Write(Op op, absl::Span<const RowSpan> spans, const TablePlace& place) const {
    double constant = MapOf(op).log_abs_det;
    if (op == Op::kLogProb) constant += base_density_.log_abs_det;
    if (op == Op::kSample) constant += base_sample_.log_abs_det;
    WriteRowsFromTable(spans, MapOf(op), place, constant, op == Op::kSample ? -1 : 1);
  }

  PlanInfo info_;
  Arena arena_;
  Weights weights_;
  Program inverse_;
  Program forward_;
  Program base_density_;
  Program base_sample_;
  size_t columns_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Plan>> CompileCpuPlan(const density::v1::FlowSpec& spec,
                                                     absl::Span<const registry::Tensor> tensors) try {
  absl::StatusOr<LoweredFlow> flow = LowerFlow(spec, tensors);
  if (!flow.ok()) return flow.status();
  auto plan = std::make_unique<CpuPlan>(*flow);
  if (!plan->has_memory()) return ResourceExhausted("memory", "not enough memory for the packed weights");
  return std::unique_ptr<Plan>(std::move(plan));
} catch (const std::bad_alloc&) {
  return ResourceExhausted("memory", "not enough memory to compile the model");
}

}  // namespace densityd::engine::cpu
