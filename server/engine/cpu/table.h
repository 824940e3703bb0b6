// What the steps of a program run on: memory of one run, and the weights.
#pragma once

#include <cstddef>
#include <cstdint>

namespace densityd::engine::cpu {

/// Sections of a plan's arena; offsets in a Program count from these.
struct Weights {
  const float* panels = nullptr;
  const float* strips = nullptr;
  const float* biases = nullptr;
};

/// A tile: [column][row] with kTileRows between columns, aligned to 64 bytes. Lanes beyond `rows` hold anything.
struct TileTable {
  float* numbers = nullptr;
  float* log = nullptr;  ///< (kTileRows): the row's log|det| so far, nats
  size_t rows = 0;
};

/// A few rows: [row][column].
struct RowTable {
  float* numbers = nullptr;
  float* log = nullptr;        ///< (rows)
  uint32_t* inputs = nullptr;  ///< scratch for the indices of one step's inputs
  size_t rows = 0;
  size_t stride = 0;  ///< between rows
};

}  // namespace densityd::engine::cpu
