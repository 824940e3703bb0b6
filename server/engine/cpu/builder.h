// Builds programs: hands out columns, and packs weights for a layout.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include "server/engine/cpu/lowered.h"
#include "server/engine/cpu/program.h"

namespace densityd::engine::cpu {

/// Weights of all programs of a plan, in the sections of its arena.
struct PackedWeights {
  std::vector<float> panels;
  std::vector<float> strips;
  std::vector<float> biases;
};

/// [begin, end).
struct Range {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
  bool empty() const { return end <= begin; }
};

/// A part of a linear layer as a step.
struct DensePart {
  Range units;
  Range inputs;
  Column input_column = 0;   ///< of the layer's input 0
  Column output_column = 0;  ///< of the first of `units`
  bool accumulate = false;
  bool sparse_input = false;
  ActivationKind activation = ActivationKind::kIdentity;
  /// Units, from the first on, that the activation is applied to; at most all.
  size_t activated = std::numeric_limits<size_t>::max();
};

class ProgramBuilder {
 public:
  ProgramBuilder(Layout layout, PackedWeights& weights) : weights_(&weights), layout_(layout) {}

  Layout layout() const { return layout_; }

  /// Steps from here on are those of `layer`.
  void Begin(ProgramLayer layer);

  /// `count` neighbouring columns, padded, that stay until Release.
  Column Allocate(size_t count);
  /// Gives back all columns that were handed out after `mark` was the next one.
  void Release(Column mark) { next_column_ = mark; }
  Column mark() const { return next_column_; }

  /// Steps for a part of `linear`: more than one where the inputs are too many for the cache.
  void Dense(const Linear& linear, const DensePart& part);
  void Activate(Column from, Column to, size_t count, ActivationKind activation);
  void Add(Column from, Column to, size_t count);
  void Copy(const std::vector<ColumnCopy>& copies);
  void Map(MapKind kind, float constant, const std::vector<MapEntry>& entries);
  /// `map` without its entries.
  void Map(MapStep map, const std::vector<MapEntry>& entries);

  Program& program() { return program_; }
  Program Take();

 private:
  void DenseChunk(const Linear& linear, const DensePart& part);
  void PackPanels(const Linear& linear, const DensePart& part, DenseStep& step);
  void PackStrips(const Linear& linear, const DensePart& part, DenseStep& step);
  void PackBiases(const Linear& linear, const DensePart& part, DenseStep& step);

  PackedWeights* weights_;
  Layout layout_;
  Program program_;
  Column next_column_ = 0;
};

}  // namespace densityd::engine::cpu
