// What densityctl explain says of a row to people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

namespace densityd::ctl {

/// One column of a row, as Explain answered: NaN where nothing can be said.
struct ExplainedColumn {
  std::string name;
  double value = 0;
  double surprise = 0;
  double tail_probability = 0;
  double median = 0;
  double lower = 0;
  double upper = 0;
  std::string chain;  ///< the term of the chain rule, as it is printed; empty: not asked for

  /// Whether the value cannot be, given the others or whatever they are.
  bool is_impossible() const;
  /// Whether the others leave values to expect.
  bool has_expectation() const;
};

/// The most unusual first; those of which nothing can be said last.
void SortByUnusualness(std::vector<ExplainedColumn>& columns);

/// In words: the most unusual one of `columns`, which are sorted, of a row with this log p. Where there are
/// `impossible` ones, these. Of which columns nothing can be said, and why. `impossible` may have columns that
/// `columns` has not.
void SayMostUnusual(std::ostream& out, double log_prob, const std::vector<ExplainedColumn>& columns,
                    const std::vector<ExplainedColumn>& impossible);

/// The first `top` columns, one per line; 0: all.
void PrintColumns(std::ostream& out, const std::vector<ExplainedColumn>& columns, size_t top);

}  // namespace densityd::ctl
