#include "server/engine/cpu/cpu_plan.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "server/base/errors.h"
#include "server/engine/cpu/arena.h"
#include "server/engine/cpu/describe.h"
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
         BytesOf(program.layers) + BytesOf(program.copies) + BytesOf(program.entries) + BytesOf(program.input) +
         BytesOf(program.output);
}

/// Most rows for which the row layout is the faster one. A solve whose degrees are narrow has many short steps, which
/// cost a tile hardly more than a few rows: 9 rows of MAF's samples at D = 43 take 160 us as a tile, and 4 rows 210 us
/// as rows. Where the steps have work to do, the layouts meet at about 8 rows.
size_t FewRowsOf(const Program& program) {
  constexpr size_t kWeightsOfAStep = 1000;
  size_t weights = 0;
  for (const Strip& strip : program.strips) weights += size_t{strip.depth} * strip.width;
  const bool has_solve = std::any_of(program.steps.begin(), program.steps.end(), [](const Step& step) {
    const auto* dense = std::get_if<DenseStep>(&step);
    return dense != nullptr && dense->accumulate;
  });
  return has_solve && weights < kWeightsOfAStep * program.steps.size() ? 2 : kMaxFewRows;
}

/// What a plan runs in one layout.
struct Programs {
  Program inverse;
  Program forward;
  Program base_density;
  Program base_sample;
  Edge edge;

  Programs(const LoweredFlow& flow, Layout layout, PackedWeights& packed)
      : inverse(MakeProgram(flow, Direction::kInverse, layout, packed)),
        forward(MakeProgram(flow, Direction::kForward, layout, packed)),
        base_density(MakeBaseDensity(flow, inverse.output)),
        base_sample(MakeBaseSample(flow, forward.input)),
        edge(flow.edge) {}

  const Program& MapOf(Op op) const { return IsInverse(op) ? inverse : forward; }
  size_t columns() const { return std::max(inverse.columns, forward.columns); }
  size_t bytes() const { return BytesOf(inverse) + BytesOf(forward) + BytesOf(base_density) + BytesOf(base_sample); }
};

/// Reads the rows of `spans`, calls run(program) for each program of `op`, and writes the answers.
template <typename RunProgram>
void RunPrograms(const Programs& programs, Op op, absl::Span<const RowSpan> spans, const TablePlace& place,
                 const RunProgram& run) {
  const Program& map = programs.MapOf(op);
  double constant = map.log_abs_det;
  ReadRowsIntoTable(op, spans, map, programs.edge, place);
  if (op == Op::kSample) {
    run(programs.base_sample);
    constant += programs.base_sample.log_abs_det;
  }
  run(map);
  if (op == Op::kLogProb) {
    run(programs.base_density);
    constant += programs.base_density.log_abs_det;
  }
  WriteRowsFromTable(op, spans, map, programs.edge, place, constant);
}

class CpuPlan final : public Plan {
 public:
  CpuPlan(const LoweredFlow& flow, PackedWeights packed)
      : tile_(flow, Layout::kTile, packed), rows_(flow, Layout::kRows, packed) {
    PlaceWeights(packed);
    info_.kind = "compiled-cpu";
    info_.device = "cpu";
    info_.instructions = TargetName();
    info_.precision = NumberType::kFloat32;
    info_.features = flow.features;
    info_.context_features = flow.edge.context.empty() ? flow.context_features : flow.edge.context.size();
    info_.bytes = sizeof(*this) + arena_.bytes() + tile_.bytes() + rows_.bytes();
    info_.tile_rows = kTileRows;
    info_.workspace_bytes = WorkspaceBytes();
    info_.rows_are_independent = true;
  }

  bool has_memory() const { return arena_.data() != nullptr; }

  const PlanInfo& info() const override { return info_; }

  PlanDescription Describe(Op op) const override {
    PlanDescription description;
    if (op == Op::kSample) cpu::Describe(tile_.base_sample, description);
    cpu::Describe(tile_.MapOf(op), description);
    if (op == Op::kLogProb) cpu::Describe(tile_.base_density, description);
    return description;
  }

  absl::Status Run(Op op, absl::Span<const RowSpan> spans, Workspace& workspace) const override {
    if (!info_.runs(op)) return InternalError(std::string("this plan has no ") + OpName(op));
    const size_t rows = RowsOf(spans);
    if (rows == 0) return absl::OkStatus();
    if (rows > kTileRows) return InternalError("a run has more rows than the plan's tile");
    auto* memory = static_cast<float*>(workspace.Reserve(WorkspaceBytes()));
    if (memory == nullptr) return ResourceExhausted("memory", "not enough memory for a tile of rows");
    if (op == Op::kSample && has_discrete_columns_) {
      RunRoundedSample(spans, rows, memory);
    } else {
      RunOp(op, spans, rows, memory);
    }
    return absl::OkStatus();
  }

 private:
  void RunOp(Op op, absl::Span<const RowSpan> spans, size_t rows, float* memory) const {
    if (rows <= (IsInverse(op) ? few_rows_inverse_ : few_rows_forward_)) {
      RunRows(op, spans, rows, memory);
    } else {
      RunTileOf(op, spans, rows, memory);
    }
  }

  /// A sample whose rows are rounded to integers and categories: its log p is that of the rows as they are written.
  void RunRoundedSample(absl::Span<const RowSpan> spans, size_t rows, float* memory) const {
    // Kept for their memory: a run in a steady state takes none.
    thread_local std::vector<RowSpan> samples;
    thread_local std::vector<RowSpan> densities;
    samples.assign(spans.begin(), spans.end());
    densities.assign(spans.begin(), spans.end());
    bool wants_log = false;
    for (size_t i = 0; i < spans.size(); ++i) {
      const MutableMatrix& output = spans[i].output;
      wants_log |= spans[i].log.data != nullptr;
      samples[i].log = {};
      densities[i].input = {output.data, output.type, output.rows, output.cols};
      densities[i].output = {};
    }
    RunOp(Op::kSample, samples, rows, memory);
    if (wants_log) RunOp(Op::kLogProb, densities, rows, memory);
  }

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

  /// Of the larger layout: one size for both, so that a workspace grows once.
  size_t WorkspaceBytes() const {
    const size_t tile = (tile_.columns() + 1) * kTileRows;
    const size_t rows = rows_.columns() * (kMaxFewRows + 1) + kLine;
    return std::max(tile, rows) * sizeof(float);
  }

  void RunTileOf(Op op, absl::Span<const RowSpan> spans, size_t rows, float* memory) const {
    const TileTable table = {memory + kTileRows, memory, rows};
    const TablePlace place = {table.numbers, table.log, 1, kTileRows, (rows + kLine - 1) / kLine * kLine};
    RunPrograms(tile_, op, spans, place, [&](const Program& program) { RunTile(program, weights_, table); });
  }

  void RunRows(Op op, absl::Span<const RowSpan> spans, size_t rows, float* memory) const {
    // [log][indices of inputs][rows of the table]; the columns are whole cache lines.
    RowTable table;
    table.rows = PaddedFewRows(rows);
    table.stride = rows_.columns();
    table.log = memory;
    table.inputs = reinterpret_cast<uint32_t*>(memory + kLine);
    table.numbers = memory + kLine + table.stride;
    const TablePlace place = {table.numbers, table.log, table.stride, 1, table.rows};
    RunPrograms(rows_, op, spans, place, [&](const Program& program) { RunFewRows(program, weights_, table); });
  }

  PlanInfo info_;
  Arena arena_;
  Weights weights_;
  Programs tile_;
  Programs rows_;
  const bool has_discrete_columns_ = std::any_of(tile_.edge.columns.begin(), tile_.edge.columns.end(),
                                                 [](const flow::ColumnForm& form) { return form.is_discrete(); });
  size_t few_rows_inverse_ = FewRowsOf(rows_.inverse);
  size_t few_rows_forward_ = FewRowsOf(rows_.forward);
};

/// Room for both layouts in both directions, so that no weight is copied while others are packed. An estimate: padding
/// takes more, and what is masked less, which costs no memory until it is written.
PackedWeights RoomFor(const LoweredFlow& flow) {
  size_t weights = 0;
  for (const LoweredLayer& layer : flow.layers) {
    if (const auto* conditioned = std::get_if<ConditionedLayer>(&layer)) {
      for (const Linear& linear : conditioned->network.layers) weights += linear.weight.values.size();
    } else if (const auto* matrix = std::get_if<MatrixLayer>(&layer)) {
      weights += matrix->matrix.values.size();
    }
  }
  PackedWeights packed;
  packed.panels.reserve(2 * weights);
  packed.strips.reserve(2 * weights);
  return packed;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Plan>> CompileCpuPlan(const density::v1::FlowSpec& spec,
                                                     absl::Span<const registry::Tensor> tensors) try {
  absl::StatusOr<LoweredFlow> flow = LowerFlow(spec, tensors);
  if (!flow.ok()) return flow.status();
  auto plan = std::make_unique<CpuPlan>(*flow, RoomFor(*flow));
  if (!plan->has_memory()) return ResourceExhausted("memory", "not enough memory for the packed weights");
  return std::unique_ptr<Plan>(std::move(plan));
} catch (const std::bad_alloc&) {
  return ResourceExhausted("memory", "not enough memory to compile the model");
}

}  // namespace densityd::engine::cpu
