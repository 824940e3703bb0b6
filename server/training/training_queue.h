// The order in which trainings that wait are started.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "absl/time/time.h"
#include "density/v1/training.pb.h"
#include "server/training/timestamps.h"

namespace densityd::training {

/// Trainings by falling priority, then oldest first. Not thread-safe.
class TrainingQueue {
 public:
  void Add(const density::v1::Training& training) { waiting_.insert(KeyOf(training)); }
  /// Whether it was there.
  bool Remove(const density::v1::Training& training) { return waiting_.erase(KeyOf(training)) > 0; }
  size_t size() const { return waiting_.size(); }
  bool empty() const { return waiting_.empty(); }
  /// Removes the first and returns its id. Precondition: !empty().
  std::string Take() { return std::get<2>(waiting_.extract(waiting_.begin()).value()); }

 private:
  using Key = std::tuple<int64_t, absl::Time, std::string>;
  static Key KeyOf(const density::v1::Training& training) {
    return {-int64_t{training.priority()}, FromTimestamp(training.create_time()), training.id()};
  }

  std::set<Key> waiting_;
};

}  // namespace densityd::training
