// Calls of a plan on plain vectors.
#pragma once

#include <cstdint>
#include <vector>

#include "server/engine/plan.h"

namespace densityd::engine::cpu {

/// Rows that a test asks for: input (rows, D), context (rows, C).
struct Rows {
  size_t rows = 0;
  std::vector<float> input;
  std::vector<float> context;
  uint64_t seed = 0;
  uint64_t first_row = 0;
};

struct Answer {
  std::vector<float> value;  ///< (rows, D)
  std::vector<float> log;    ///< (rows)
};

/// The span of `rows` with its outputs in `answer`, which is given its size.
RowSpan SpanOf(const Plan& plan, Op op, const Rows& rows, Answer& answer);

/// All rows, in runs of at most `run_rows` rows. A failed run leaves a fatal test failure.
Answer RunPlan(const Plan& plan, Op op, const Rows& rows, size_t run_rows);

}  // namespace densityd::engine::cpu
