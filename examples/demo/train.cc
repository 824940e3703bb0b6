#include "examples/demo/train.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace densityd::demo {
namespace {

using density::v1::Training;

constexpr uint64_t kBarWidth = 30;

/// One line of progress: redrawn in place on a terminal, a new line every quarter elsewhere.
class ProgressBar {
 public:
  void Show(const Training& training) {
    const density::v1::TrainingProgress& progress = training.progress();
    if (progress.total_steps() == 0) return;
    const uint64_t quarter = 4 * progress.step() / progress.total_steps();
    if (!is_terminal_ && quarter == quarter_) return;
    quarter_ = quarter;
    const uint64_t filled = std::min(kBarWidth, kBarWidth * progress.step() / progress.total_steps());
    const std::string bar = std::string(filled, '#') + std::string(kBarWidth - filled, '.');
    const double nll = progress.validation_nll();
    const std::string validation = std::isnan(nll) ? "" : absl::StrFormat("  validation NLL %.2f nats", nll);
    absl::PrintF("%s  %-15s [%s] step %d of %d  %.0f rows/s%s  %.0f s left%s", is_terminal_ ? "\r\x1b[K" : "",
                 training.model(), bar, progress.step(), progress.total_steps(), progress.rows_per_second(), validation,
                 progress.eta_seconds(), is_terminal_ ? "" : "\n");
    std::fflush(stdout);
  }

  /// Leaves the terminal on a new line.
  void End() const {
    if (is_terminal_) std::printf("\n");
  }

 private:
  const bool is_terminal_ = isatty(STDOUT_FILENO) == 1;
  uint64_t quarter_ = ~uint64_t{0};
};

}  // namespace

absl::StatusOr<Training> TrainModel(const Client& client, const density::v1::TrainRequest& request) {
  absl::StatusOr<Training> training = client.Train(request);
  if (!training.ok()) return training.status();
  ProgressBar bar;
  training = client.Watch(training->id(), [&](const Training& state) {
    bar.Show(state);
    return true;
  });
  bar.End();
  if (training.ok() && training->state() != density::v1::SUCCEEDED) {
    return absl::Status(static_cast<absl::StatusCode>(training->error_code()),
                        absl::StrCat("training ", training->id(), " ended ",
                                     density::v1::TrainingState_Name(training->state()), ": ", training->error()));
  }
  return training;
}

}  // namespace densityd::demo
