// What a plan does with a row, for people: layers, steps, and the work and memory of each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace densityd::engine {

/// One step of a plan. Work is counted per row.
struct StepDescription {
  std::string op;                    ///< "dense", "copy", "activate", "add", or a univariate map: "affine_inverse"
  uint64_t inputs = 0;               ///< columns that it reads
  uint64_t outputs = 0;              ///< columns that it writes
  uint64_t multiply_adds = 0;        ///< weights times numbers
  uint64_t dense_multiply_adds = 0;  ///< the same where every input met every output
  size_t weight_bytes = 0;
};

/// Neighbouring steps that do the work of one layer.
struct LayerDescription {
  std::string kind;                  ///< as in FlowSpec: "coupling"; or "rows", "base"
  std::string shape;                 ///< "6 columns, 6 -> 256 -> 12, relu"
  uint64_t dense_multiply_adds = 0;  ///< one pass through its matrices without masks, per row
  uint64_t passes = 1;               ///< through its network, one after the other
  uint64_t multiply_adds = 0;        ///< per row, all steps and passes
  size_t weight_bytes = 0;
  std::vector<StepDescription> steps;  ///< in order; empty where LibTorch runs the layer
};

/// One operation of a plan.
struct PlanDescription {
  std::vector<LayerDescription> layers;  ///< in the order in which they run

  uint64_t multiply_adds() const;
  uint64_t dense_multiply_adds() const;
};

}  // namespace densityd::engine
