#include "server/engine/train/train_plan.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "server/base/errors.h"

namespace densityd::engine::train {
namespace {

// Tiles that go through the flow together. Two share what is read of the weights, and fit the second-level cache.
constexpr size_t kTilesAtOnce = 2;
// A batch's gradient is the sum of those of its parts, whatever the number of threads: so many share it at most.
constexpr size_t kMaxParts = 16;
// Most numbers of all parts' gradients.
constexpr size_t kMaxPartNumbers = size_t{1} << 26;

size_t TilesOf(size_t rows) { return (rows + kTileRows - 1) / kTileRows; }

size_t PartsOf(size_t tiles, size_t numbers) {
  const size_t most = std::clamp<size_t>(kMaxPartNumbers / std::max<size_t>(numbers, 1), 1, kMaxParts);
  // Parts of one tile, where there are too few for two threads otherwise.
  return std::clamp<size_t>(tiles < 2 * kTilesAtOnce ? tiles : tiles / kTilesAtOnce, 1, most);
}

// The key of what a step draws: splitmix64 (Steele, Lea and Flood 2014) of both.
uint32_t DrawKey(const Batch& batch) {
  uint64_t key = batch.seed * 0x9E3779B97F4A7C15 + batch.number;
  for (int round = 0; round < 2; ++round) {
    key += 0x9E3779B97F4A7C15;
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9;
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB;
    key ^= key >> 31;
  }
  return static_cast<uint32_t>(key);
}

size_t WholeRows(const Batch& batch) { return batch.whole_rows == 0 ? batch.indices.size() : batch.whole_rows; }

}  // namespace

absl::StatusOr<std::unique_ptr<TrainPlan>> TrainPlan::Compile(const density::v1::FlowSpec& spec, size_t batch_rows,
                                                              size_t threads) {
  absl::StatusOr<LoweredTraining> lowered = LowerTraining(spec);
  if (!lowered.ok()) return lowered.status();
  // More threads than parts would have nothing to do.
  const size_t parts = PartsOf(TilesOf(batch_rows), lowered->layout.size());
  auto plan = std::unique_ptr<TrainPlan>(new TrainPlan(*std::move(lowered), std::clamp<size_t>(threads, 1, parts)));
  if (!plan->Allocate(batch_rows)) {
    return ResourceExhausted("memory", "there is too little memory for the gradients and activations of a batch");
  }
  return plan;
}

bool TrainPlan::Allocate(size_t batch_rows) {
  const Program& program = lowered_.program;
  const size_t values = program.value_columns * kTileRows;
  const size_t gradients = program.gradient_columns * kTileRows;
  const size_t transposed = TransposedSize(kTilesAtOnce);
  for (size_t member = 0; member < team_.members(); ++member) {
    Workspace& workspace = workspaces_.emplace_back();
    workspace.memory = cpu::Arena(transposed + kTilesAtOnce * (values + gradients + 2 * kTileRows));
    float* next = workspace.memory.data();
    if (next == nullptr) return false;
    workspace.transposed = next;
    next += transposed;
    for (size_t t = 0; t < kTilesAtOnce; ++t) {
      Tile& tile = workspace.tiles.emplace_back();
      tile.values = next;
      tile.gradients = tile.values + values;
      tile.log = tile.gradients + gradients;
      tile.weights = tile.log + kTileRows;
      next = tile.weights + kTileRows;
    }
  }
  const size_t parts = PartsOf(TilesOf(batch_rows), layout().size());
  for (size_t p = 0; p < parts; ++p) {
    if (parts_.emplace_back(layout().size()).data() == nullptr) return false;
  }
  part_losses_.resize(parts);
  range_squares_.resize(layout().ranges().size());
  return true;
}

void TrainPlan::FillTile(const Batch& batch, size_t first_row, const Tile& tile) const {
  const size_t rows = std::min(kTileRows, batch.indices.size() - first_row);
  const float weight = 1 / static_cast<float>(WholeRows(batch));
  const std::vector<Columns>& input = lowered_.program.input;
  for (size_t r = 0; r < kTileRows; ++r) {
    // Rows that are none repeat one that is, and weigh nothing.
    const int64_t index = batch.indices[first_row + (r < rows ? r : 0)];
    const float* row = batch.rows + static_cast<size_t>(index) * batch.row_step;
    for (size_t j = 0; j < input.size(); ++j) tile.values[input[j].value * kTileRows + r] = row[j];
    tile.weights[r] = r < rows ? weight : 0;
  }
}

double TrainPlan::PartGradient(const float* parameters, const Batch& batch, size_t begin, size_t end,
                               Workspace& workspace, float* gradient) const {
  const uint32_t draw_key = DrawKey(batch);
  double loss = 0;
  for (size_t first = begin; first < end; first += kTilesAtOnce) {
    Shard shard;
    shard.tiles = std::span(workspace.tiles).first(std::min(kTilesAtOnce, end - first));
    shard.transposed = workspace.transposed;
    shard.adds = first > begin;
    shard.first_row = static_cast<uint32_t>(batch.first_place + first * kTileRows);
    shard.draw_key = draw_key;
    for (size_t t = 0; t < shard.tiles.size(); ++t) FillTile(batch, (first + t) * kTileRows, shard.tiles[t]);
    loss += ShardGradient(lowered_.program, parameters, shard, gradient);
  }
  return loss;
}

LossAndNorm TrainPlan::ComputeGradient(const float* parameters, const Batch& batch) {
  const size_t tiles = TilesOf(batch.indices.size());
  const size_t parts = PartsOf(tiles, layout().size());
  team_.Run(parts, [&](size_t part, size_t member) {
    part_losses_[part] = PartGradient(parameters, batch, tiles * part / parts, tiles * (part + 1) / parts,
                                      workspaces_[member], parts_[part].data());
  });
  LossAndNorm result;
  result.norm = SumGradients(parts);
  for (size_t p = 0; p < parts; ++p) result.loss += part_losses_[p];
  const double share = static_cast<double>(batch.indices.size()) / static_cast<double>(WholeRows(batch));
  result.loss -= share * lowered_.program.log_abs_det;
  return result;
}

double TrainPlan::SumGradients(size_t parts) {
  const std::vector<Range>& ranges = layout().ranges();
  team_.Run(ranges.size(), [&](size_t i, size_t) {
    const float* of_range[kMaxParts];
    for (size_t p = 0; p < parts; ++p) of_range[p] = parts_[p].data() + ranges[i].begin;
    range_squares_[i] = SumParts({of_range, parts}, ranges[i].count, parts_.front().data() + ranges[i].begin);
  });
  double squares = 0;
  for (const double part : range_squares_) squares += part;
  return std::sqrt(squares);
}

double TrainPlan::GradientNorm() { return SumGradients(1); }

void TrainPlan::TakeStep(const AdamStep& step, AdamNumbers numbers) {
  const std::vector<Range>& ranges = layout().ranges();
  team_.Run(ranges.size(), [&](size_t i, size_t) {
    const size_t begin = ranges[i].begin;
    TakeAdamStep(step, {ranges[i].count, gradient() + begin, numbers.values + begin, numbers.first_moment + begin,
                        numbers.second_moment + begin, numbers.average == nullptr ? nullptr : numbers.average + begin});
  });
}

}  // namespace densityd::engine::train
