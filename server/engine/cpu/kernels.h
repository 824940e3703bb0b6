// Runs a program on rows with the best SIMD target of this processor: AVX-512, AVX2 or a portable one.
#pragma once

#include <cstdint>

#include "server/engine/cpu/program.h"
#include "server/engine/cpu/table.h"

namespace densityd::engine::cpu {

/// All steps in the tile layout, for the first `table.rows` rows; at most kTileRows.
void RunTile(const Program& program, const Weights& weights, const TileTable& table);

/// All steps in the row layout. `table.rows` is 1, 2, 4 or 8.
void RunFewRows(const Program& program, const Weights& weights, const RowTable& table);

/// Standard normal numbers of one row of a seed's endless sample (engine/philox.h), rounded to float32: out[j *
/// stride].
void FillNoise(uint64_t seed, uint64_t row, size_t columns, float* out, size_t stride);

/// "AVX3", "AVX2", … as Highway names the target that is in use.
const char* TargetName();

}  // namespace densityd::engine::cpu
