// Puts together a training program: columns, parameters and products, and which gradients are set or added.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/engine/train/layout.h"
#include "server/engine/train/program.h"

namespace densityd::engine::train {

/// The order of one side of a product, and what masks it.
struct Side {
  std::vector<int64_t> order;    ///< unit n here is unit order[n] of the stored tensor
  std::vector<int64_t> degrees;  ///< of unit n here, ascending; empty: dense
};

/// A product as it is stored: a weight (outputs, inputs) and a bias (outputs).
struct StoredLinear {
  std::string weight;  ///< name
  std::string bias;    ///< name
  Side inputs;
  Side outputs;
};

/// Not thread-safe.
class Builder {
 public:
  /// `rows_columns`: at most so many columns of rows are made.
  explicit Builder(size_t row_columns) : first_network_column_(row_columns) {}

  /// Columns of a row between layers.
  Columns NewRowColumns(uint32_t count, bool has_gradient);
  /// Columns of a network; gradients by them share memory with those of networks before the last StartNetwork.
  Columns NewNetworkColumns(uint32_t count, bool has_gradient);
  void StartNetwork() { network_gradients_ = 0; }

  /// A product whose unit i sees input j where degree(j) <= degree(i).
  Linear AddLinear(const StoredLinear& stored);
  /// The strictly triangular part of a stored (n, n) tensor, whose rows and columns stand in `order`: unit i sees the
  /// inputs before it. Adds places for the part to `where`, which has n * n.
  Linear AddTriangle(const std::vector<int64_t>& order, std::vector<Position>& where);
  /// A tensor of neighbouring parameters.
  Position AddVector(const std::string& name, std::vector<int64_t> shape);
  /// Parameters that a caller places himself.
  Position AddNumbers(size_t count);
  void AddTensor(TensorPlace place) { layout_.AddTensor(std::move(place)); }

  void AddStep(Step step) { program_.steps.push_back(std::move(step)); }
  Program& program() { return program_; }

  /// Decides which gradients are added to others. No step may follow.
  void Finish();
  Program TakeProgram() { return std::move(program_); }
  Layout TakeLayout() { return std::move(layout_); }

 private:
  Linear NewLinear(std::vector<uint32_t> reach, uint32_t inputs);

  const size_t first_network_column_;
  size_t row_gradients_ = 0;
  size_t network_gradients_ = 0;
  size_t most_network_gradients_ = 0;
  Program program_;
  Layout layout_;
};

}  // namespace densityd::engine::train
