#include "server/engine/measure.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "server/engine/philox.h"

namespace densityd::engine {
namespace {

constexpr std::array<size_t, 3> kSmallRuns = {1, 8, 64};
/// Runs of one size: the first pays for page faults and lazy initialisation and is not counted where others follow.
constexpr int kMostRuns = 6;
/// Numbers of noise that are different from one another.
constexpr size_t kNoise = 1024;
/// Share of the budget after which a size is not run again.
constexpr double kRepeatShare = 1.0 / 50;

double SteadySeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Seconds for which the calling thread had a core.
double ThreadSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Rows for all operations of a plan.
class Rows {
 public:
  explicit Rows(const PlanInfo& info)
      : info_(info),
        input_(info.tile_rows * info.features),
        context_(info.tile_rows * info.context_features),
        output_(input_.size()),
        log_(info.tile_rows) {
    FillWithNoise(input_);
    FillWithNoise(context_);
  }

  RowSpan Span(Op op, size_t rows) {
    RowSpan span;
    span.rows = rows;
    if (op != Op::kSample) span.input = {input_.data(), NumberType::kFloat32, rows, info_.features};
    if (info_.context_features > 0) {
      span.context = {context_.data(), NumberType::kFloat32, rows, info_.context_features};
    }
    if (op != Op::kLogProb)
      span.output = {output_.data(), NumberType::kFloat32, rows, OutputColumns(op, info_.features)};
    span.log = {log_.data(), NumberType::kFloat32, rows, 1};
    return span;
  }

 private:
  /// A short sample over and over: noise is slow to make, and no time depends on which numbers they are.
  static void FillWithNoise(std::vector<float>& numbers) {
    const size_t count = std::min(numbers.size(), kNoise);
    FillStandardNormal(/*seed=*/0, /*first_row=*/0, /*rows=*/1, count, numbers.data());
    for (size_t i = count; i < numbers.size(); ++i) numbers[i] = numbers[i - count];
  }

  const PlanInfo& info_;
  std::vector<float> input_;
  std::vector<float> context_;
  std::vector<float> output_;
  std::vector<float> log_;
};

class Measurement {
 public:
  Measurement(Plan& plan, double budget, const std::function<double()>& seconds_now)
      : plan_(plan), budget_(budget), now_(seconds_now), rows_(plan.info()) {
    for (int op = 0; op < kOpCount; ++op) work_[op] = plan.Describe(static_cast<Op>(op)).multiply_adds();
  }

  void Run() {
    std::array<int, kOpCount> order;
    std::iota(order.begin(), order.end(), 0);
    // The cheapest comes first, and is one that the plan runs.
    std::stable_sort(order.begin(), order.end(), [this](int a, int b) {
      return std::pair(!Runs(static_cast<Op>(a)), work_[a]) < std::pair(!Runs(static_cast<Op>(b)), work_[b]);
    });
    const auto cheapest = static_cast<Op>(order.front());
    for (int index : order) {
      const auto op = static_cast<Op>(index);
      if (!Runs(op)) continue;
      if (!MeasureOp(op, cheapest)) return;
    }
  }

 private:
  bool Runs(Op op) const { return plan_.info().runs(op); }

  /// False where a run failed.
  bool MeasureOp(Op op, Op cheapest) {
    const double work = WorkRatio(op, cheapest);
    std::vector<RunTime::Point> points;
    for (size_t rows : Sizes()) {
      const double expected =
          points.empty() ? plan_.run_time(cheapest).Seconds(rows) * work : Extrapolated(points, rows);
      if (spent_ + 2 * expected > budget_) break;
      const std::optional<double> seconds = Shortest(op, rows);
      if (!seconds.has_value()) return false;
      points.push_back({rows, points.empty() ? *seconds : std::max(*seconds, points.back().seconds)});
    }
    plan_.set_run_time(op, points.empty() ? Scaled(plan_.run_time(cheapest), work) : RunTime(std::move(points)));
    return true;
  }

  std::optional<double> Shortest(Op op, size_t rows) {
    const RowSpan span = rows_.Span(op, rows);
    double shortest = 0;
    double sum = 0;
    for (int run = 0; run < kMostRuns; ++run) {
      const double begin = now_();
      if (!plan_.Run(op, absl::MakeConstSpan(&span, 1), workspace_).ok()) return std::nullopt;
      const double seconds = std::max(now_() - begin, 0.0);
      sum += seconds;
      shortest = run <= 1 ? seconds : std::min(shortest, seconds);
      if (run >= 1 && sum > budget_ * kRepeatShare) break;
      if (spent_ + sum + seconds > budget_) break;
    }
    spent_ += sum;
    return shortest;
  }

  std::vector<size_t> Sizes() const {
    const size_t tile = plan_.info().tile_rows;
    std::vector<size_t> sizes;
    for (size_t rows : kSmallRuns) {
      if (rows < tile) sizes.push_back(rows);
    }
    sizes.push_back(tile);
    return sizes;
  }

  double WorkRatio(Op op, Op cheapest) const {
    const double base = static_cast<double>(work_[static_cast<size_t>(cheapest)]);
    return base == 0 ? 1 : static_cast<double>(work_[static_cast<size_t>(op)]) / base;
  }

  /// The line through the last two points, or through zero where there is one.
  static double Extrapolated(const std::vector<RunTime::Point>& points, size_t rows) {
    const RunTime::Point low = points.size() > 1 ? points[points.size() - 2] : RunTime::Point{};
    const RunTime::Point high = points.back();
    const double slope = (high.seconds - low.seconds) / static_cast<double>(high.rows - low.rows);
    return high.seconds + slope * static_cast<double>(rows - high.rows);
  }

  static RunTime Scaled(const RunTime& time, double factor) {
    std::vector<RunTime::Point> points(time.points().begin(), time.points().end());
    for (RunTime::Point& point : points) point.seconds *= factor;
    return RunTime(std::move(points));
  }

  Plan& plan_;
  const double budget_;
  const std::function<double()>& now_;
  Rows rows_;
  Workspace workspace_;
  std::array<uint64_t, kOpCount> work_{};
  double spent_ = 0;
};

}  // namespace

void MeasureRunTimes(Plan& plan, absl::Duration budget, const std::function<double()>& seconds_now) {
  if (plan.info().tile_rows == 0) return;
  Measurement(plan, absl::ToDoubleSeconds(budget), seconds_now).Run();
}

void MeasureRunTimes(Plan& plan) {
  // Loading gives way to busy threads: by a clock on the wall, a run would seem to take what they took meanwhile. Who
  // waits for another device has no core meanwhile.
  MeasureRunTimes(plan, kMeasureBudget, plan.info().device == "cpu" ? ThreadSeconds : SteadySeconds);
}

}  // namespace densityd::engine
