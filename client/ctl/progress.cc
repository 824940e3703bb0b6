#include "client/ctl/progress.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/ctl/messages.h"
#include "client/ctl/text_table.h"

namespace densityd::ctl {

namespace v1 = density::v1;

namespace {

// Without a terminal, a line for each twentieth of the steps.
constexpr uint64_t kLines = 20;
constexpr int kNarrowestBar = 10;
constexpr int kWidestBar = 40;

std::string Bar(double share, int width) {
  const int done = static_cast<int>(std::lround(share * width));
  return absl::StrCat("[", std::string(static_cast<size_t>(done), '='),
                      std::string(static_cast<size_t>(width - done), ' '), "]");
}

std::string FormatEta(double seconds) {
  const auto whole = static_cast<int64_t>(std::ceil(std::max(seconds, 0.0)));
  if (whole < 60) return absl::StrCat(whole, "s");
  if (whole < 3600) return absl::StrFormat("%dm%02ds", whole / 60, whole % 60);
  return absl::StrFormat("%dh%02dm", whole / 3600, whole % 3600 / 60);
}

double Share(const v1::TrainingProgress& progress) {
  if (progress.total_steps() == 0) return 0;
  return std::min(1.0, static_cast<double>(progress.step()) / static_cast<double>(progress.total_steps()));
}

absl::Status PrintOutcome(Session& session, const v1::Training& training) {
  const v1::TrainingReport& report = training.report();
  session.streams.out << absl::StrFormat(
      "%s@%d published by training %s\n"
      "held-out log-likelihood %.4f +- %.4f nats (2 standard errors, %d rows)\n"
      "%d steps in %.1f s%s, %s rows/s, best at step %d, %d parameters\n",
      training.model(), training.version(), training.id(), report.validation_log_likelihood(),
      2 * report.validation_standard_error(), report.validation_rows(), report.steps(), report.seconds(),
      report.stopped_early() ? " (stopped early)" : "", FormatCount(report.rows_per_second()), report.best_step(),
      report.parameters());
  if (!report.not_compiled_because().empty()) {
    session.streams.out << "steps by LibTorch: " << report.not_compiled_because() << "\n";
  }
  for (const std::string& choice : report.preprocessing()) session.streams.out << "column " << choice << "\n";
  return absl::OkStatus();
}

}  // namespace

std::string DescribeProgress(const v1::TrainingProgress& progress) {
  std::string text = absl::StrFormat("step %d/%d  %s rows/s  train %.3f", progress.step(), progress.total_steps(),
                                     FormatCount(progress.rows_per_second()), progress.train_nll());
  if (!std::isnan(progress.validation_nll())) {
    absl::StrAppendFormat(&text, "  validation %.3f", progress.validation_nll());
  }
  if (!std::isnan(progress.best_validation_nll())) {
    absl::StrAppendFormat(&text, "  best %.3f at %d", progress.best_validation_nll(), progress.best_step());
  }
  if (progress.nonfinite_steps() > 0) absl::StrAppendFormat(&text, "  skipped %d", progress.nonfinite_steps());
  if (progress.nonfinite_in_a_row() > 0) {
    absl::StrAppendFormat(&text, "  NOT FINITE for %d steps", progress.nonfinite_in_a_row());
  }
  return absl::StrCat(text, "  ", FormatEta(progress.eta_seconds()), " left");
}

std::string DescribeRun(const v1::Training& training) {
  std::string text;
  if (training.stalled()) absl::StrAppend(&text, "  STALLED");
  if (training.state() == v1::QUEUED && !training.interruption().empty()) {
    absl::StrAppend(&text, "  interrupted: ", training.interruption());
  } else if (training.resumes() > 0) {
    absl::StrAppend(&text, "  resumed ", training.resumes(), " times");
  }
  return text;
}

void TrainingProgressView::Show(const v1::Training& training) {
  if (columns_ == 0) {
    ShowLine(training);
    return;
  }
  std::string line = absl::StrCat(training.model(), ": ", v1::TrainingState_Name(training.state()));
  if (training.has_progress()) {
    const std::string text = absl::StrFormat(" %3.0f%% ", 100 * Share(training.progress())) +
                             DescribeProgress(training.progress()) + DescribeRun(training);
    const int width = std::clamp(columns_ - static_cast<int>(text.size()) - 3, kNarrowestBar, kWidestBar);
    line = Bar(Share(training.progress()), width) + text;
  }
  // A line that wraps could not be overwritten.
  if (line.size() >= static_cast<size_t>(columns_)) line.resize(static_cast<size_t>(columns_) - 1);
  err_ << "\r" << line << "\x1b[K" << std::flush;
  bar_shown_ = true;
}

void TrainingProgressView::ShowLine(const v1::Training& training) {
  const v1::TrainingProgress& progress = training.progress();
  const uint64_t step_between = std::max<uint64_t>(progress.total_steps() / kLines, 1);
  const bool is_far = progress.step() >= printed_step_ + step_between;
  if (training.state() == state_ && training.stalled() == stalled_ && !is_far) return;
  state_ = training.state();
  stalled_ = training.stalled();
  printed_step_ = progress.step();
  err_ << training.model() << " " << v1::TrainingState_Name(training.state());
  if (training.has_progress()) err_ << "  " << DescribeProgress(progress);
  err_ << DescribeRun(training) << std::endl;
}

void TrainingProgressView::End() {
  if (bar_shown_) err_ << "\n";
  bar_shown_ = false;
}

void RowProgressView::Show(uint64_t rows, std::optional<double> share) {
  constexpr absl::Duration kPause = absl::Milliseconds(100);
  const absl::Time now = absl::Now();
  if (columns_ == 0 || now - shown_ < kPause) return;
  shown_ = now;
  const double seconds = std::max(absl::ToDoubleSeconds(now - start_), 1e-3);
  std::string text = absl::StrFormat("%d rows  %s rows/s", rows, FormatCount(static_cast<double>(rows) / seconds));
  std::string line;
  if (share.has_value()) {
    text = absl::StrFormat(" %3.0f%%  ", 100 * *share) + text;
    if (*share > 0) absl::StrAppend(&text, "  ", FormatEta(seconds * (1 - *share) / *share), " left");
    line = Bar(*share, std::clamp(columns_ - static_cast<int>(text.size()) - 3, kNarrowestBar, kWidestBar));
  }
  err_ << "\r" << (line + text).substr(0, static_cast<size_t>(columns_ - 1)) << "\x1b[K" << std::flush;
}

RowProgressView::~RowProgressView() {
  if (shown_ != absl::InfinitePast()) err_ << "\r\x1b[K" << std::flush;
}

absl::Status WatchToTheEnd(Session& session, const Client& client, const std::string& id, bool json) {
  TrainingProgressView view(session.streams);
  const absl::StatusOr<v1::Training> training = client.Watch(id, [&](const v1::Training& state) {
    view.Show(state);
    return true;
  });
  view.End();
  if (!training.ok()) return training.status();
  if (json) {
    if (absl::Status status = PrintJson(session.streams.out, *training); !status.ok()) return status;
  }
  switch (training->state()) {
    case v1::SUCCEEDED:
      return json ? absl::OkStatus() : PrintOutcome(session, *training);
    case v1::FAILED:
      return absl::CancelledError(absl::StrCat("training ", training->id(), " failed: ", training->error()));
    default:
      return absl::CancelledError(absl::StrCat("training ", training->id(), " was cancelled"));
  }
}

}  // namespace densityd::ctl
