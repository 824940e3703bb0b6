#include "tests/rpc/fake_plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "server/base/errors.h"

namespace densityd::rpc {
namespace {

double Read(const ConstMatrix& matrix, size_t row, size_t column) {
  const char* at = static_cast<const char*>(matrix.data) + (row * matrix.cols + column) * NumberBytes(matrix.type);
  if (matrix.type == NumberType::kFloat64) {
    double value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  float value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

void Write(double value, const MutableMatrix& matrix, size_t row, size_t column) {
  if (matrix.data == nullptr) return;
  char* at = static_cast<char*>(matrix.data) + (row * matrix.cols + column) * NumberBytes(matrix.type);
  if (matrix.type == NumberType::kFloat64) {
    std::memcpy(at, &value, sizeof value);
    return;
  }
  const auto narrow = static_cast<float>(value);
  std::memcpy(at, &narrow, sizeof narrow);
}

}  // namespace

void PlanProbe::Hold() {
  absl::MutexLock lock(&mutex_);
  holding_ = true;
}

void PlanProbe::Release() {
  absl::MutexLock lock(&mutex_);
  holding_ = false;
}

void PlanProbe::ReleaseOne() {
  absl::MutexLock lock(&mutex_);
  ++permits_;
}

void PlanProbe::AwaitRuns(int runs) {
  absl::MutexLock lock(&mutex_);
  const auto begun = [this, runs]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return runs_ >= runs; };
  mutex_.Await(absl::Condition(&begun));
}

void PlanProbe::OnRun(size_t requests, size_t rows) {
  absl::MutexLock lock(&mutex_);
  rows_ += rows;
  most_requests_ = std::max(most_requests_, requests);
  ++runs_;
  const auto may_go_on = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return MayGoOn(); };
  mutex_.Await(absl::Condition(&may_go_on));
  if (holding_) --permits_;
}

size_t PlanProbe::rows() const {
  absl::MutexLock lock(&mutex_);
  return rows_;
}

size_t PlanProbe::most_requests() const {
  absl::MutexLock lock(&mutex_);
  return most_requests_;
}

FakePlan::FakePlan(size_t features, size_t context, NumberType precision, std::shared_ptr<PlanProbe> probe)
    : probe_(std::move(probe)) {
  info_.kind = "fake";
  info_.device = "cpu";
  info_.precision = precision;
  info_.features = features;
  info_.context_features = context;
  info_.bytes = 1000;
  info_.scores = precision == NumberType::kFloat64;
  info_.has_chain_order = precision == NumberType::kFloat64;
  info_.is_estimate = features >= kFakeEstimateFeatures;
  info_.rows_are_independent = true;
}

absl::Status FakePlan::Run(engine::Op op, absl::Span<const engine::RowSpan> spans, engine::Workspace&) const {
  size_t rows = 0;
  for (const engine::RowSpan& span : spans) rows += span.rows;
  probe_->OnRun(spans.size(), rows);
  for (const engine::RowSpan& span : spans) {
    for (size_t row = 0; row < span.rows; ++row) {
      if (absl::Status status = RunRow(op, span, row); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status FakePlan::RunRow(engine::Op op, const engine::RowSpan& span, size_t row) const {
  const size_t context_row = span.context.rows == 1 ? 0 : row;
  double log_prob = 0;
  for (size_t c = 0; c < info_.context_features; ++c) log_prob -= Read(span.context, context_row, c);
  for (size_t j = 0; j < info_.features; ++j) {
    const double x =
        op == engine::Op::kSample ? FakeSample(span.seed, span.first_row + row, j) : Read(span.input, row, j);
    const bool is_far = std::abs(x) > kFakeFarthest && std::abs(x) < 10 * kFakeFarthest;
    if (is_far && x > 0) return InvalidRow("rows", span.first_row + row, "is too far out for the fake");
    log_prob -= is_far ? std::numeric_limits<double>::quiet_NaN() : x * x / 2;
    if (op == engine::Op::kSample) Write(x, span.output, row, j);
    if (op == engine::Op::kInverse) Write(2 * x, span.output, row, j);
    if (op == engine::Op::kForward) Write(x / 2, span.output, row, j);
    if (op == engine::Op::kScore) Write(-x, span.output, row, j);
    if (op == engine::Op::kLogProbByColumn) Write(-x * x / 2, span.output, row, j);
    if (op == engine::Op::kLogProbWithError && j == 0) Write(std::abs(x) / 10, span.output, row, 0);
  }
  const double log_abs_det = static_cast<double>(info_.features) * std::log(2.0);
  if (op == engine::Op::kInverse) log_prob = log_abs_det;
  if (op == engine::Op::kForward) log_prob = -log_abs_det;
  Write(log_prob, span.log, row, 0);
  return absl::OkStatus();
}

double FakeSample(uint64_t seed, uint64_t row, size_t column) {
  return static_cast<double>((seed * 31 + row * 7 + column) % 1000) / 100;
}

}  // namespace densityd::rpc
