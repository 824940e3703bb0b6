// Where the parameters of a flow stand in the one vector that a compiled training steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/engine/train/program.h"
#include "server/registry/tensor.h"

namespace densityd::engine::train {

/// Neighbouring parameters, a multiple of 16 of them.
struct Range {
  size_t begin = 0;
  size_t count = 0;
};

/// A learnt tensor, and where each of its numbers stands.
struct TensorPlace {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<Position> where;  ///< kNowhere: it is zero, and not learnt
};

/// The learnt tensors of a flow as one vector. What no tensor has a place in is padding, and stays zero.
class Layout {
 public:
  /// Room for `count` neighbouring parameters, the first at a multiple of 16.
  Position Reserve(size_t count);
  /// That the parameters from `begin` on are learnt; `begin` is a multiple of 16, and `count` is rounded up to one.
  void MarkLearnt(Position begin, size_t count);
  void AddTensor(TensorPlace place) { tensors_.push_back(std::move(place)); }

  /// Numbers of the vector.
  size_t size() const { return size_; }
  /// All that is learnt, ascending, in pieces small enough to be shared out between threads.
  const std::vector<Range>& ranges() const { return ranges_; }
  /// The tensor that has a number at `position`; empty for padding.
  std::string TensorAt(size_t position) const;

  /// Writes the tensors of the flow, float32 or float64, into `values` (size()). DATA_LOSS naming the tensor where one
  /// is missing, or has another shape.
  absl::Status Load(absl::Span<const registry::Tensor> tensors, float* values) const;
  /// The tensors that `values` (size()) hold, in float32.
  std::vector<registry::Tensor> Store(const float* values) const;

 private:
  size_t size_ = 0;
  std::vector<Range> ranges_;
  std::vector<TensorPlace> tensors_;
};

}  // namespace densityd::engine::train
