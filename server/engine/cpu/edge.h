// What happens to rows and their context, in float64, where they enter and leave a program.
#pragma once

#include <cstddef>
#include <vector>

#include "server/flow/column_map.h"
#include "server/flow/context_column.h"

namespace densityd::engine::cpu {

/// A column of the context, and the numbers that its training learnt.
struct ContextEdge {
  flow::ContextColumn column;
  std::vector<float> learnt;  ///< the embedding, row by row; or what stands for a missing number
};

struct Edge {
  std::vector<flow::ColumnForm> columns;  ///< maps of the data's columns; empty: none, or a first layer
  std::vector<ContextEdge> context;       ///< how each column of the context is encoded; empty: it is not
};

}  // namespace densityd::engine::cpu
