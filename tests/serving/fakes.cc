#include "tests/serving/fakes.h"

#include "gtest/gtest.h"

namespace densityd::serving {
namespace {

double* Numbers(const engine::RowSpan& span, const MutableMatrix& matrix, size_t row) {
  EXPECT_EQ(matrix.rows, span.rows);
  return static_cast<double*>(matrix.data) + row;
}

}  // namespace

double FakeAnswer(double scale, engine::Op op, double x, uint64_t seed, uint64_t row) {
  const double base = op == engine::Op::kSample ? static_cast<double>(seed * 1000003 + row) : x;
  return scale * base + 0.25 * static_cast<int>(op);
}

FakePlan::FakePlan(const FakeClock* clock, size_t tile_rows, double scale) : scale(scale), clock_(clock) {
  info_.kind = "fake";
  info_.device = "cpu";
  info_.precision = NumberType::kFloat64;
  info_.features = 1;
  info_.tile_rows = tile_rows;
  info_.rows_are_independent = true;
}

absl::Status FakePlan::Run(engine::Op op, absl::Span<const engine::RowSpan> spans, engine::Workspace&) const {
  Made made{op, {}};
  size_t total = 0;
  bool poisoned = false;
  for (const engine::RowSpan& span : spans) {
    made.rows.push_back(span.rows);
    total += span.rows;
    for (size_t row = 0; row < span.rows; ++row) {
      const double x = span.input.data == nullptr ? 0 : static_cast<const double*>(span.input.data)[row];
      poisoned |= x == kPoison;
      const double answer = FakeAnswer(scale, op, x, span.seed, span.first_row + row);
      *Numbers(span, span.log, row) = answer;
      *Numbers(span, span.output, row) = 2 * answer;
    }
  }
  EXPECT_LE(total, info_.tile_rows) << "a run with more rows than the plan allows";
  if (const std::function<void()> call = during_run) call();  // which may change it
  if (clock_ != nullptr) clock_->Advance(run_time + static_cast<int64_t>(total) * row_time);
  absl::MutexLock lock(&mutex_);
  runs_.push_back(std::move(made));
  return poisoned ? poison_error : absl::OkStatus();
}

size_t FakePlan::rows_computed() const {
  size_t total = 0;
  for (const Made& made : runs()) {
    for (const size_t rows : made.rows) total += rows;
  }
  return total;
}

TestJob::TestJob(std::shared_ptr<const FakePlan> plan, size_t rows, engine::Op op, double first)
    : input(rows), log(rows), output(rows), fake_(*plan) {
  for (size_t i = 0; i < rows; ++i) input[i] = first + static_cast<double>(i);
  this->plan = std::move(plan);
  this->op = op;
  span.rows = rows;
  span.seed = static_cast<uint64_t>(first);
  span.first_row = 17;
  if (op != engine::Op::kSample) span.input = {input.data(), NumberType::kFloat64, rows, 1};
  span.log = {log.data(), NumberType::kFloat64, rows, 1};
  span.output = {output.data(), NumberType::kFloat64, rows, 1};
  bytes = rows * 24;
}

void TestJob::Done(absl::Status result) {
  memory.Release();
  status = std::move(result);
  times_done.fetch_add(1);
  const std::function<void()> callback = on_done;  // which may destroy this job
  if (callback) callback();
}

bool TestJob::IsRight() const {
  for (size_t i = 0; i < log.size(); ++i) {
    const double expected = FakeAnswer(fake_.scale, op, input[i], span.seed, span.first_row + i);
    if (log[i] != expected || output[i] != 2 * expected) return false;
  }
  return true;
}

int Drain(Scheduler& scheduler, int worker) {
  int calls = 0;
  while (scheduler.RunOne(worker)) ++calls;
  return calls;
}

}  // namespace densityd::serving
