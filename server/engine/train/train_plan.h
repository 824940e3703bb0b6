// A compiled training step: gradients of the mean of -log p, and Adam along them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "density/v1/flow_spec.pb.h"
#include "server/engine/cpu/arena.h"
#include "server/engine/train/kernels.h"
#include "server/engine/train/layout.h"
#include "server/engine/train/lower.h"
#include "server/engine/train/shard.h"
#include "server/engine/train/team.h"

namespace densityd::engine::train {

/// Rows of a batch: those that `indices` name of a matrix of float32 numbers. A row holds the D columns as the flow's
/// fixed layers leave them, then the context as networks see it.
struct Batch {
  const float* rows = nullptr;
  size_t row_step = 0;  ///< numbers from one row to the next
  absl::Span<const int64_t> indices;
  /// What dropout draws is a function of these, the layer, the unit and the row's place in the batch.
  uint64_t seed = 0;
  uint64_t number = 0;
  /// Where these are a part of a larger batch: its rows, and the place of the first of these in it. Loss and gradient
  /// are then this part's share of those of the whole.
  size_t whole_rows = 0;  ///< 0: these are all
  size_t first_place = 0;
};

/// Outcome of a pass.
struct LossAndNorm {
  double loss = 0;  ///< mean of -log p, nats, without the log|det| of the fixed layers
  double norm = 0;  ///< of the gradient
};

/// Steps one flow in float32. The numbers that it computes depend on its arguments and the batch alone, not on the
/// number of threads; on the vector instructions only in their last bits. Used by one thread.
class TrainPlan {
 public:
  /// For batches of up to `batch_rows` rows. UNIMPLEMENTED, naming the layer, where training of `spec` is not compiled;
  /// RESOURCE_EXHAUSTED where memory is short. Precondition: `spec` is checked, fitted and has its defaults.
  static absl::StatusOr<std::unique_ptr<TrainPlan>> Compile(const density::v1::FlowSpec& spec, size_t batch_rows,
                                                            size_t threads);

  const Layout& layout() const { return lowered_.layout; }
  /// Layers next to the data that learn nothing; see Batch.
  int fixed_layers() const { return lowered_.fixed_layers; }
  /// Numbers of a row of a batch.
  size_t row_numbers() const { return lowered_.program.input.size(); }
  /// Of one row's way to the base, without what masks keep at zero.
  uint64_t multiply_adds() const { return lowered_.program.multiply_adds; }

  /// The loss of a batch at `parameters` (layout().size()), and its gradient.
  LossAndNorm ComputeGradient(const float* parameters, const Batch& batch);
  /// Of the last ComputeGradient, layout().size() numbers; what is written there is what TakeStep goes along.
  const float* gradient() const { return parts_.front().data(); }
  float* mutable_gradient() { return parts_.front().data(); }
  /// Of gradient() as it is.
  double GradientNorm();
  /// One step along gradient(); `numbers` are of layout().size(), their gradient and count are filled in here.
  void TakeStep(const AdamStep& step, AdamNumbers numbers);

 private:
  // Memory of one thread.
  struct Workspace {
    cpu::Arena memory;
    std::vector<Tile> tiles;
    float* transposed = nullptr;
  };

  TrainPlan(LoweredTraining lowered, size_t threads) : lowered_(std::move(lowered)), team_(threads) {}
  bool Allocate(size_t batch_rows);
  // Adds the gradients of the first `parts` parts into the first of them; the norm of the sum.
  double SumGradients(size_t parts);
  // The gradient by the rows of tiles [begin, end) of the batch into `gradient`; their part of the loss.
  double PartGradient(const float* parameters, const Batch& batch, size_t begin, size_t end, Workspace& workspace,
                      float* gradient) const;
  void FillTile(const Batch& batch, size_t first_row, const Tile& tile) const;

  LoweredTraining lowered_;
  Team team_;
  std::vector<Workspace> workspaces_;  // of each member
  std::vector<cpu::Arena> parts_;      // sums of gradients; the first becomes the sum of all
  std::vector<double> part_losses_;
  std::vector<double> range_squares_;
};

}  // namespace densityd::engine::train
