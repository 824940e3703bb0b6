// What runs of a plan cost on this machine, before the server has measured runs of its own.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace densityd::engine {

/// Seconds of one run by its number of rows: straight lines between measured points. Low where nothing was measured: a
/// run with more rows than the last point costs at least as much as that.
class RunTime {
 public:
  struct Point {
    size_t rows = 0;
    double seconds = 0;
  };

  /// Nothing is known.
  RunTime() = default;
  /// Precondition: rows ascend and are not 0; seconds never fall.
  explicit RunTime(std::vector<Point> points) : points_(std::move(points)) {}

  /// Seconds of a run of `rows` rows; 0 where nothing is known. Does not allocate.
  double Seconds(size_t rows) const;
  /// Seconds per row of the largest run that was measured, which uses the machine best; 0 where nothing is known.
  double SecondsPerRow() const;

  absl::Span<const Point> points() const { return points_; }

 private:
  std::vector<Point> points_;
};

}  // namespace densityd::engine
