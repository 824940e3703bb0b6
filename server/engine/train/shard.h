// What a pass over a part of a batch runs on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "server/engine/train/program.h"

namespace densityd::engine::train {

/// Tables of one tile, aligned to 64 bytes.
struct Tile {
  float* values = nullptr;     ///< (Program::value_columns, kTileRows); those of Program::input are given
  float* gradients = nullptr;  ///< (Program::gradient_columns, kTileRows)
  float* log = nullptr;        ///< (kTileRows): the row's log|det|, nats
  float* weights = nullptr;    ///< (kTileRows): of each row in the loss; 0 where there is no row
};

/// Tiles whose gradients are summed together, by one thread.
struct Shard {
  std::span<const Tile> tiles;
  /// Some inputs of a product with units as lanes: (rows of all tiles, kGroupInputs).
  float* transposed = nullptr;
  bool adds = false;       ///< to the gradient that is there
  uint32_t first_row = 0;  ///< of the first tile, in the batch
  uint32_t draw_key = 0;   ///< of what is drawn in this step
};

/// Numbers that `Shard::transposed` needs.
inline size_t TransposedSize(size_t tiles) { return tiles * kTileRows * kGroupInputs; }

}  // namespace densityd::engine::train
