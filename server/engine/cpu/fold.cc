#include "server/engine/cpu/fold.h"

#include <cmath>
#include <utility>

namespace densityd::engine::cpu {
namespace {

DiagonalLayer Compose(const DiagonalLayer& first, const DiagonalLayer& second) {
  DiagonalLayer both = first;
  for (size_t j = 0; j < both.center.size(); ++j) {
    both.center[j] += second.center[j] / first.factor[j];
    both.factor[j] *= second.factor[j];
  }
  return both;
}

double LogAbsDet(const DiagonalLayer& layer) {
  double sum = 0;
  for (double factor : layer.factor) sum += std::log(std::abs(factor));
  return sum;
}

/// M ((x - c) f) + s.
MatrixLayer Compose(const DiagonalLayer& first, const MatrixLayer& second) {
  MatrixLayer both = second;
  for (size_t i = 0; i < both.matrix.rows; ++i) {
    for (size_t j = 0; j < both.matrix.cols; ++j) {
      both.matrix(i, j) *= first.factor[j];
      both.inverse(i, j) /= first.factor[i];
      both.shift[i] -= both.matrix(i, j) * first.center[j];
    }
  }
  both.log_abs_det += LogAbsDet(first);
  return both;
}

/// (M x + s - c) f.
MatrixLayer Compose(const MatrixLayer& first, const DiagonalLayer& second) {
  MatrixLayer both = first;
  for (size_t i = 0; i < both.matrix.rows; ++i) {
    for (size_t j = 0; j < both.matrix.cols; ++j) {
      both.matrix(i, j) *= second.factor[i];
      both.inverse(i, j) /= second.factor[j];
    }
    both.shift[i] = (first.shift[i] - second.center[i]) * second.factor[i];
  }
  both.log_abs_det += LogAbsDet(second);
  return both;
}

MatrixLayer Compose(const MatrixLayer& first, const MatrixLayer& second) {
  MatrixLayer both;
  both.matrix = Multiply(second.matrix, first.matrix);
  both.inverse = Multiply(first.inverse, second.inverse);
  both.shift = Multiply(second.matrix, first.shift);
  for (size_t i = 0; i < both.shift.size(); ++i) both.shift[i] += second.shift[i];
  both.log_abs_det = first.log_abs_det + second.log_abs_det;
  return both;
}

MatrixLayer Compose(const MatrixLayer& first, const PermutationLayer& second) {
  MatrixLayer both = first;
  for (size_t i = 0; i < both.matrix.rows; ++i) {
    const size_t from = second.columns[i];
    for (size_t j = 0; j < both.matrix.cols; ++j) {
      both.matrix(i, j) = first.matrix(from, j);
      both.inverse(j, i) = first.inverse(j, from);
    }
    both.shift[i] = first.shift[from];
  }
  return both;
}

DiagonalLayer Permute(const DiagonalLayer& layer, const PermutationLayer& permutation) {
  DiagonalLayer permuted = layer;
  for (size_t j = 0; j < permutation.columns.size(); ++j) {
    permuted.center[j] = layer.center[permutation.columns[j]];
    permuted.factor[j] = layer.factor[permutation.columns[j]];
  }
  return permuted;
}

/// Takes layers one by one and keeps the last one open for what follows.
class Folder {
 public:
  void Append(LoweredLayer layer) {
    std::visit([this](auto& one) { AppendOne(std::move(one)); }, layer);
  }

  std::vector<LoweredLayer> Take() { return std::move(layers_); }

 private:
  template <typename Layer>
  Layer* Last() {
    return layers_.empty() ? nullptr : std::get_if<Layer>(&layers_.back());
  }

  void AppendOne(ConditionedLayer&& layer) { layers_.push_back(std::move(layer)); }
  void AppendOne(BijectionLayer&& layer) { layers_.push_back(std::move(layer)); }

  void AppendOne(DiagonalLayer&& layer) {
    if (auto* diagonal = Last<DiagonalLayer>()) {
      *diagonal = Compose(*diagonal, layer);
    } else if (auto* matrix = Last<MatrixLayer>()) {
      *matrix = Compose(*matrix, layer);
    } else {
      layers_.push_back(std::move(layer));
    }
  }

  void AppendOne(MatrixLayer&& layer) {
    if (auto* matrix = Last<MatrixLayer>()) {
      *matrix = Compose(*matrix, layer);
    } else if (auto* diagonal = Last<DiagonalLayer>(); diagonal != nullptr && layers_.size() > 1) {
      layers_.back() = Compose(*diagonal, layer);
    } else {
      layers_.push_back(std::move(layer));
    }
  }

  void AppendOne(PermutationLayer&& layer) {
    if (auto* matrix = Last<MatrixLayer>()) {
      *matrix = Compose(*matrix, layer);
    } else if (auto* diagonal = Last<DiagonalLayer>(); diagonal != nullptr && layers_.size() > 1) {
      // The permutation costs nothing wherever it stands; the diagonal layer stays open behind it.
      DiagonalLayer permuted = Permute(*diagonal, layer);
      layers_.back() = std::move(layer);
      layers_.push_back(std::move(permuted));
    } else {
      layers_.push_back(std::move(layer));
    }
  }

  std::vector<LoweredLayer> layers_;
};

}  // namespace

std::vector<LoweredLayer> FoldAffineLayers(std::vector<LoweredLayer> layers) {
  Folder folder;
  for (LoweredLayer& layer : layers) folder.Append(std::move(layer));
  return folder.Take();
}

}  // namespace densityd::engine::cpu
