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

/// A network laid out over columns.
class NetworkSchedule {
 public:
  /// Whether sets of units that are no longer needed lend their columns to later ones.
  enum class Columns { kReused, kKept };

  /// `inputs` are the columns that the network reads. `network` must outlive this.
  NetworkSchedule(const Network& network, const Units& inputs, Columns columns, ProgramBuilder& builder);

  /// The column of the network's output 0.
  Column output() const { return units_[output_].first; }

  /// All outputs from all inputs.
  void EmitAll();

  /// The triangular solve: outputs of degree i depend on inputs of a degree <= i alone, and `solve(i)` emits the steps
  /// that compute the input of degree i + 1 from them, for i = 0 … features - 1. Each weight is used once: units are
  /// computed as soon as the inputs of their degree are there.
  template <typename Solve>
  void EmitSolve(int64_t features, const Solve& solve) {
    EmitHidden({-1, 0}, {-1, 0});
    for (int64_t begin = 0; begin < features;) {
      const int64_t end = BlockEnd(begin, features);
      EmitEarlier(begin, end);
      for (int64_t i = begin; i < end; ++i) {
        EmitOutputs(begin, i, end - begin > 1);
        solve(i);
        if (i + 1 < features) EmitHidden({i, i + 1}, {end - begin > 1 ? begin : -1, i + 1});
      }
      begin = end;
    }
  }

 private:
  /// Degrees (after, up_to].
  struct Degrees {
    int64_t after = -1;
    int64_t up_to = 0;
  };

  size_t AddUnits(const Linear& linear, bool sparse);
  void LayOutMlp(const Network& network, Columns columns);
  void LayOutResidual(const Network& network, Columns columns);
  int64_t BlockEnd(int64_t begin, int64_t features) const;
  void EmitEarlier(int64_t begin, int64_t end);
  void EmitOutputs(int64_t begin, int64_t degree, bool blocked);
  void EmitHidden(Degrees degrees, Degrees from_degrees);
  void EmitDense(const NetworkStage& stage, Range units, Range inputs, bool accumulate, ActivationKind activation);
  Range UnitsOf(size_t units, Degrees degrees) const;

  ProgramBuilder* builder_;
  std::vector<Units> units_;  ///< [0] are the inputs
  std::vector<NetworkStage> stages_;
  size_t output_ = 0;
};

}  // namespace densityd::engine::cpu
