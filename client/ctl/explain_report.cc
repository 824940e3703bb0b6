#include "client/ctl/explain_report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/ctl/text_table.h"

namespace densityd::ctl {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string Number(double value) { return std::isnan(value) ? "-" : absl::StrFormat("%.5g", value); }

std::string Interval(const ExplainedColumn& column) {
  return column.has_expectation() ? absl::StrCat(Number(column.lower), " to ", Number(column.upper)) : "-";
}

/// A probability that is too small for a double is not called zero.
std::string Probability(const ExplainedColumn& column) {
  if (std::isnan(column.tail_probability)) return "-";
  if (column.tail_probability == 0 && !column.is_impossible()) return "<1e-300";
  return absl::StrFormat("%.2g", column.tail_probability);
}

/// Its value, and what was expected instead; `verdict` follows the value.
void Say(std::ostream& out, const ExplainedColumn& column, const std::string& verdict) {
  out << column.name << " is " << Number(column.value) << verdict;
  if (column.has_expectation()) out << "; expected " << Interval(column) << " given the rest";
}

}  // namespace

bool ExplainedColumn::is_impossible() const { return surprise == kInfinity; }
bool ExplainedColumn::has_expectation() const { return !std::isnan(lower) && !std::isnan(upper); }

void SortByUnusualness(std::vector<ExplainedColumn>& columns) {
  // Without NaN, which has no place in an order.
  const auto key = [](const ExplainedColumn& column) {
    const bool is_known = !std::isnan(column.tail_probability) && !std::isnan(column.surprise);
    return is_known ? std::tuple(0, column.tail_probability, -column.surprise) : std::tuple(1, 0.0, 0.0);
  };
  std::stable_sort(columns.begin(), columns.end(),
                   [&](const ExplainedColumn& a, const ExplainedColumn& b) { return key(a) < key(b); });
}

void SayMostUnusual(std::ostream& out, double log_prob, const std::vector<ExplainedColumn>& columns,
                    const std::vector<ExplainedColumn>& impossible) {
  for (const ExplainedColumn& column : impossible) {
    Say(out, column, ", which the model rules out");
    out << "\n";
  }
  std::vector<std::string> unknown;
  for (const ExplainedColumn& column : columns) {
    if (!column.has_expectation() && !column.is_impossible()) unknown.push_back(column.name);
  }
  if (!unknown.empty()) {
    out << "Nothing can be said of " << absl::StrJoin(unknown, ", ")
        << (log_prob == -kInfinity
                ? ": given the other columns no value is possible\n"
                : ": log p is not a number at values of theirs, since numbers on the way overflow\n");
  } else if (impossible.empty() && !columns.empty()) {
    Say(out, columns.front(), "");
    out << " (p = " << Probability(columns.front()) << ")\n";
  }
}

void PrintColumns(std::ostream& out, const std::vector<ExplainedColumn>& columns, size_t top) {
  std::vector<std::string> headers = {"COLUMN", "VALUE", "EXPECTED (5-95 %)", "MEDIAN", "P", "SURPRISE"};
  const bool has_chain = !columns.empty() && !columns.front().chain.empty();
  if (has_chain) headers.emplace_back("CHAIN");
  std::vector<std::vector<std::string>> lines;
  for (const ExplainedColumn& column : columns) {
    if (top > 0 && lines.size() == top) break;
    lines.push_back({column.name, Number(column.value), Interval(column), Number(column.median), Probability(column),
                     std::isnan(column.surprise) ? "-" : absl::StrFormat("%.2f", column.surprise)});
    if (has_chain) lines.back().push_back(column.chain);
  }
  PrintTable(out, headers, lines);
}

}  // namespace densityd::ctl
