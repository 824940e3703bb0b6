#include "tests/engine/cpu/run.h"

#include <algorithm>

#include "gtest/gtest.h"

namespace densityd::engine::cpu {

RowSpan SpanOf(const Plan& plan, Op op, const Rows& rows, Answer& answer) {
  const size_t features = plan.info().features;
  RowSpan span;
  span.rows = rows.rows;
  span.seed = rows.seed;
  span.first_row = rows.first_row;
  if (op != Op::kSample) span.input = {rows.input.data(), NumberType::kFloat32, rows.rows, features};
  if (!rows.context.empty()) {
    span.context = {rows.context.data(), NumberType::kFloat32, rows.rows, plan.info().context_features};
  }
  if (op != Op::kLogProb) {
    answer.value.resize(rows.rows * features);
    span.output = {answer.value.data(), NumberType::kFloat32, rows.rows, features};
  }
  answer.log.resize(rows.rows);
  span.log = {answer.log.data(), NumberType::kFloat32, rows.rows, 1};
  return span;
}

Answer RunPlan(const Plan& plan, Op op, const Rows& rows, size_t run_rows) {
  Answer answer;
  const RowSpan span = SpanOf(plan, op, rows, answer);
  Workspace workspace;
  for (size_t begin = 0; begin < rows.rows; begin += run_rows) {
    const RowSpan part = Slice(span, begin, std::min(run_rows, rows.rows - begin));
    const absl::Status status = plan.Run(op, {&part, 1}, workspace);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  return answer;
}

}  // namespace densityd::engine::cpu
