// Runs a program on rows with the best SIMD target of this processor: AVX-512, AVX2 or a portable one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "server/engine/cpu/program.h"
#include "server/engine/cpu/table.h"

namespace densityd::engine::cpu {

/// All steps in the tile layout, for the first `table.rows` rows; at most kTileRows.
void RunTile(const Program& program, const Weights& weights, const TileTable& table);

/// All steps in the row layout. `table.rows` is 1, 2, 4 or 8.
void RunFewRows(const Program& program, const Weights& weights, const RowTable& table);

/// A part of a seed's endless sample: rows first_row … first_row + rows - 1 and the first columns.
struct NoiseArea {
  uint64_t seed = 0;
  uint64_t first_row = 0;
  size_t rows = 0;
  size_t columns = 0;
};

/// Standard normal numbers (engine/philox.h), rounded to float32: number (i, j) of the area into out[i * row_step + j *
/// column_step]. One of the steps is 1.
void FillNoise(const NoiseArea& area, float* out, size_t row_step, size_t column_step);

/// "AVX3", "AVX2", … as Highway names the target that is in use.
const char* TargetName();

}  // namespace densityd::engine::cpu
