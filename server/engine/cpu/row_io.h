// Rows between a request and a program's table, in either layout.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "server/engine/cpu/edge.h"
#include "server/engine/cpu/program.h"
#include "server/engine/plan.h"

namespace densityd::engine::cpu {

/// Where the numbers of a table stand: number (row, column) is numbers[row * row_step + column * column_step].
struct TablePlace {
  float* numbers = nullptr;
  float* log = nullptr;  ///< (rows)
  size_t row_step = 0;
  size_t column_step = 0;
  size_t padded_rows = 0;  ///< rows that are computed: those of the request, then zeros
};

/// The input of all rows (noise where `op` is kSample) and their context, under the maps of `edge`, whose log-slopes
/// are what the logs begin with. Rows of `spans` follow each other.
void ReadRowsIntoTable(Op op, absl::Span<const RowSpan> spans, const Program& program, const Edge& edge,
                       const TablePlace& place);

/// Output and log of all rows: data under the maps of `edge`, whose log-slopes count, as `constant` does. The table of
/// a sample holds the negative of what is asked for.
void WriteRowsFromTable(Op op, absl::Span<const RowSpan> spans, const Program& program, const Edge& edge,
                        const TablePlace& place, double constant);

}  // namespace densityd::engine::cpu
