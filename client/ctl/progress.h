// Trainings, and rows, on the screen: a progress bar on a terminal, plain lines elsewhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/ctl/session.h"
#include "density/v1/training.pb.h"

namespace densityd::ctl {

/// Shows the states of one training as they come. Not thread-safe.
class TrainingProgressView {
 public:
  /// `err_columns` as in Streams.
  explicit TrainingProgressView(const Streams& streams) : err_(streams.err), columns_(streams.err_columns) {}

  void Show(const density::v1::Training& training);
  /// Leaves the bar's line.
  void End();

 private:
  void ShowLine(const density::v1::Training& training);

  std::ostream& err_;
  int columns_;
  bool bar_shown_ = false;
  density::v1::TrainingState state_ = density::v1::TRAINING_STATE_UNSPECIFIED;
  bool stalled_ = false;
  uint64_t printed_step_ = 0;
};

/// Rows on their way, as a bar on a terminal; nothing elsewhere. Not thread-safe.
class RowProgressView {
 public:
  /// `shown`: false where the rows themselves go to the screen.
  RowProgressView(const Streams& streams, bool shown) : err_(streams.err), columns_(shown ? streams.err_columns : 0) {}
  /// Clears the bar's line.
  ~RowProgressView();

  /// `share` of all rows, within [0, 1], where that is known.
  void Show(uint64_t rows, std::optional<double> share);

 private:
  std::ostream& err_;
  int columns_;
  absl::Time start_ = absl::Now();
  absl::Time shown_ = absl::InfinitePast();
};

/// "step 1040/2000  41.2k rows/s  train 0.512  validation 0.498  best 0.497 at 1000  6s left", what is known of it.
std::string DescribeProgress(const density::v1::TrainingProgress& progress);

/// What is unusual about its process: "  STALLED", "  resumed 2 times", "  interrupted: …"; empty where nothing is.
std::string DescribeRun(const density::v1::Training& training);

/// Follows a training to its end, showing progress; prints its outcome, as JSON if asked. CANCELLED with the reason
/// where it failed or was cancelled.
absl::Status WatchToTheEnd(Session& session, const Client& client, const std::string& id, bool json);

}  // namespace densityd::ctl
