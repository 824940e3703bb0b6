// Models of the shapes that the benchmarks run, and rows to run them on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/engine/plan.h"

namespace densityd::bench {

/// A preset as the peers' benchmark builds it: `layers` transforms with two hidden layers of `hidden` units.
struct Shape {
  const char* preset;
  uint32_t features;
  uint32_t hidden;
  uint32_t layers;

  bool operator==(const Shape&) const = default;
};

/// All shapes that are measured. The names of presets are densityd's; engine.py says what a peer calls them.
extern const std::vector<Shape> kShapes;

/// "<preset>/<D>/<hidden>/<layers>".
std::string ShapeName(const Shape& shape);

/// Floating-point operations of one row in the conditioners.
struct Flops {
  double useful = 0;
  double dense = 0;
};

/// A compiled model, or why there is none.
struct BenchModel {
  std::shared_ptr<const engine::Plan> plan;
  std::string why_not;
  Flops flops;
  std::vector<float> input;  ///< (kMaxRows, D), as the model's data may look
};

/// Most rows of one run.
inline constexpr size_t kMaxRows = 4096;

/// The model of `shape`, with random weights. The last one is kept until another is asked for, because Google Benchmark
/// calls a benchmark many times. Not thread-safe.
const BenchModel* SharedModel(const Shape& shape);

/// Memory for `rows` rows of one caller.
class Rows {
 public:
  /// `model` outlives this.
  Rows(const BenchModel& model, size_t rows);
  /// All rows, as an operation takes them.
  engine::RowSpan Span(engine::Op op);

 private:
  const BenchModel& model_;
  size_t rows_;
  std::vector<float> output_;
  std::vector<float> log_;
};

/// Computes `span`, tile after tile. Ends the program where the plan fails.
void RunInTiles(const engine::Plan& plan, const engine::RowSpan& span, engine::Op op, engine::Workspace& workspace);

/// One per file of benchmarks; called by main.
void RegisterPlans();
void RegisterScaling();
void RegisterTraining();

}  // namespace densityd::bench
