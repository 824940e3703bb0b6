// Steps of a conditioner: for all rows at once, or degree by degree inside a triangular solve.
#pragma once

#include <cstdint>
#include <vector>

#include "server/engine/cpu/builder.h"
#include "server/engine/cpu/lowered.h"

namespace densityd::engine::cpu {

/// Neighbouring columns that hold the units of one layer. Degrees ascend; empty where nothing is masked.
struct Units {
  Column first = 0;
  size_t count = 0;
  std::vector<int64_t> degrees;
  bool sparse = false;  ///< often exactly zero: they left a ReLU

  /// Units of a degree <= `degree`. Precondition: degrees are known.
  size_t CountUpTo(int64_t degree) const;
};

/// One operation of a network on whole sets of units, which stand in a list by index.
struct NetworkStage {
  enum class Kind { kDense, kActivate, kAdd };
  Kind kind = Kind::kDense;
  const Linear* linear = nullptr;  ///< kDense
  size_t from = 0;
  size_t to = 0;
  ActivationKind activation = ActivationKind::kIdentity;
};

/// A network laid out over columns. Its outputs are not kept: a few of them at a time share the same columns.
class NetworkSchedule {
 public:
  /// Whether sets of hidden units that are no longer needed lend their columns to later ones.
  enum class Columns { kReused, kKept };

  /// `inputs` are the columns that the network reads. `network` must outlive this.
  NetworkSchedule(const Network& network, const Units& inputs, Columns columns, ProgramBuilder& builder);

  /// All hidden units from all inputs.
  void EmitHidden();
  /// Some of the outputs from all hidden units. Overwrites the outputs before.
  void EmitOutputs(Range outputs);
  /// The column of output `i`, which is one of those that were emitted last.
  Column OutputColumn(size_t i) const { return units_[output_].first + static_cast<Column>(i - first_output_); }

  /// The triangular solve: outputs of degree i depend on inputs of a degree <= i alone, and `solve(i)` emits the steps
  /// that compute the input of degree i + 1 from them, for i = 0 … features - 1. Each weight is used once.
  /// Precondition: Columns::kKept.
  template <typename Solve>
  void EmitSolve(int64_t features, const Solve& solve) {
    if (builder_->layout() == Layout::kTile) {
      EmitTileSolve(features, solve);
    } else {
      EmitRowSolve(features, solve);
    }
  }

 private:
  /// Degrees (after, up_to].
  struct Degrees {
    int64_t after = -1;
    int64_t up_to = 0;
  };

  /// Rows are lanes, so a step may have as few units as it likes to, but its sums should be long: units are computed as
  /// soon as the inputs of their degree are there. Where a degree has few units, degrees are taken in blocks.
  template <typename Solve>
  void EmitTileSolve(int64_t features, const Solve& solve) {
    AllocateOutputs(LargestBlock(features));
    EmitHiddenOf({-1, 0}, {-1, 0});
    for (int64_t begin = 0; begin < features;) {
      const int64_t end = BlockEnd(begin, features);
      first_output_ = UnitsOf(output_, {begin - 1, end - 1}).begin;
      EmitEarlier(begin, end);
      for (int64_t i = begin; i < end; ++i) {
        EmitOutputsOf(begin, i, end - begin > 1);
        solve(i);
        if (i + 1 < features) EmitHiddenOf({i, i + 1}, {end - begin > 1 ? begin : -1, i + 1});
      }
      begin = end;
    }
  }

  /// Units are lanes, so a step should have many of them, but its sums may be short: what a degree's units give to all
  /// later ones is added as soon as they are there.
  template <typename Solve>
  void EmitRowSolve(int64_t features, const Solve& solve) {
    AllocateOutputs(units_[output_].count);
    EmitGiven({-1, 0}, features);
    for (int64_t i = 0; i < features; ++i) {
      solve(i);
      if (i + 1 < features) EmitGiven({i, i + 1}, features);
    }
  }

  size_t AddUnits(const Linear& linear, bool sparse);
  void LayOutMlp(const Network& network, Columns columns);
  void LayOutResidual(const Network& network, Columns columns);
  void LayOutOutputs(const Network& network, size_t from);
  void AllocateOutputs(size_t count);
  int64_t BlockEnd(int64_t begin, int64_t features) const;
  size_t LargestBlock(int64_t features) const;
  void EmitEarlier(int64_t begin, int64_t end);
  void EmitOutputsOf(int64_t begin, int64_t degree, bool blocked);
  void EmitHiddenOf(Degrees degrees, Degrees from_degrees);
  void EmitGiven(Degrees degrees, int64_t features);
  void EmitUnits(const NetworkStage& stage, Range units);
  DensePart PartOf(const NetworkStage& stage, Range units, Range inputs) const;
  Range UnitsOf(size_t units, Degrees degrees) const;

  ProgramBuilder* builder_;
  std::vector<Units> units_;  ///< [0] are the inputs
  std::vector<NetworkStage> stages_;
  size_t output_ = 0;
  size_t first_output_ = 0;  ///< whose column is the first one
  size_t output_columns_ = 0;
};

}  // namespace densityd::engine::cpu
