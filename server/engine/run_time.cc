#include "server/engine/run_time.h"

namespace densityd::engine {

double RunTime::Seconds(size_t rows) const {
  if (points_.empty()) return 0;
  if (rows <= points_.front().rows) return points_.front().seconds;
  for (size_t i = 1; i < points_.size(); ++i) {
    const Point& low = points_[i - 1];
    const Point& high = points_[i];
    if (rows > high.rows) continue;
    const double share = static_cast<double>(rows - low.rows) / static_cast<double>(high.rows - low.rows);
    return low.seconds + share * (high.seconds - low.seconds);
  }
  return points_.back().seconds;
}

double RunTime::SecondsPerRow() const {
  if (points_.empty()) return 0;
  return points_.back().seconds / static_cast<double>(points_.back().rows);
}

}  // namespace densityd::engine
