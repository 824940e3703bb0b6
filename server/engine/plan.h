// Compiled inference program of one model version on one device.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/base/matrix.h"
#include "server/engine/description.h"
#include "server/engine/run_time.h"

namespace densityd::engine {

/// What is asked of the rows.
enum class Op {
  kLogProb,  ///< x -> log p(x)
  kInverse,  ///< x -> z, log|det dz/dx|
  kForward,  ///< z -> x, log|det dx/dz|
  kSample,   ///< (seed, row) -> x, and log p(x) where asked
  // Those of plans whose info says so:
  kScore,             ///< x -> d log p(x) / dx, log p(x)
  kLogProbByColumn,   ///< x -> log p(x_j | the columns before j) in the flow's order, log p(x)
  kLogProbWithError,  ///< x -> standard error of log p(x), a number per row; log p(x)
};
inline constexpr int kOpCount = 7;

/// "log_prob", "inverse", "forward", "sample", "score", "log_prob_by_column", "log_prob_with_error".
const char* OpName(Op op);

/// Numbers that `op` gives per row beside log p or log|det|, for a flow of D = `features`.
size_t OutputColumns(Op op, size_t features);

/// Rows of one request inside a run: n consecutive rows. Inputs are read and outputs written in place.
struct RowSpan {
  size_t rows = 0;
  ConstMatrix input;       ///< x or z (n, D); empty for kSample
  ConstMatrix context;     ///< (n, C), or (1, C) for all rows; empty for a model without context
  uint64_t seed = 0;       ///< kSample: key of the noise
  uint64_t first_row = 0;  ///< index of the first row in its request, for messages; kSample: row i's noise is that of
                           ///< row first_row + i of the seed's endless sample
  MutableMatrix output;    ///< what `op` gives, (n, OutputColumns); empty for kLogProb
  MutableMatrix log;       ///< log p or log|det| (n, 1), nats; may be empty for kSample
};

/// The part of `span` that begins at `begin` and has `rows` rows. Precondition: begin + rows <= span.rows.
RowSpan Slice(const RowSpan& span, size_t begin, size_t rows);

/// Constant facts about a plan.
struct PlanInfo {
  std::string kind;                  ///< "compiled-cpu", "reference-cpu", "cuda" or "reference-cuda"
  std::string not_compiled_because;  ///< why the reference plan serves, naming the layer; empty where it does not
  std::string device;                ///< "cpu" or "cuda:<n>"
  std::string instructions;          ///< vector instructions in use, "AVX3"; empty where LibTorch computes
  NumberType precision = NumberType::kFloat32;
  size_t features = 0;                ///< D
  size_t context_features = 0;        ///< C
  size_t bytes = 0;                   ///< memory of weights; an upper bound
  size_t workspace_bytes = 0;         ///< scratch memory of a run of tile_rows rows, which each worker keeps
  size_t tile_rows = 64;              ///< rows of one run that use the device well; a run may have up to this many
  bool scores = false;                ///< whether it runs kScore
  bool has_chain_order = false;       ///< whether it runs kLogProbByColumn: the flow has a ChainOrder
  bool is_estimate = false;           ///< whether log p is a stochastic estimate, and it runs kLogProbWithError
  bool rows_are_independent = false;  ///< the bit promise: a row's bits do not depend on the rows around it

  bool runs(Op op) const;
};

/// Scratch memory of one thread, kept between runs. Not thread-safe.
class Workspace {
 public:
  /// At least `bytes` bytes, 64-byte aligned; the content is undefined. Valid until the next call. Null where memory is
  /// short (or nothing was asked for).
  void* Reserve(size_t bytes);

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  std::unique_ptr<void, Free> memory_;
  size_t bytes_ = 0;
};

/// Immutable and thread-safe once it is shared.
class Plan {
 public:
  virtual ~Plan() = default;
  virtual const PlanInfo& info() const = 0;

  /// What `op` does with a row. Slow: for people.
  virtual PlanDescription Describe(Op /*op*/) const { return {}; }

  /// Time of runs of `op` as measured when the plan was made (see measure.h); unknown for plans that were not.
  const RunTime& run_time(Op op) const { return run_times_[static_cast<size_t>(op)]; }
  void set_run_time(Op op, RunTime time) { run_times_[static_cast<size_t>(op)] = std::move(time); }

  /// Computes `op` for all rows of `spans`, at most info().tile_rows in all, into their outputs.
  /// Precondition: shapes fit info(), inputs are finite, and info().runs(op). INTERNAL where the device fails;
  /// RESOURCE_EXHAUSTED where its memory is short; INVALID_ARGUMENT, naming the row, where the flow cannot map one (a
  /// solver's step limit).
  virtual absl::Status Run(Op op, absl::Span<const RowSpan> spans, Workspace& workspace) const = 0;

 private:
  std::array<RunTime, kOpCount> run_times_;
};

}  // namespace densityd::engine
