#include "server/engine/plan.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace densityd::engine {
namespace {

TEST(OpName, IsTheNameInTheMetrics) {
  EXPECT_STREQ(OpName(Op::kLogProb), "log_prob");
  EXPECT_STREQ(OpName(Op::kInverse), "inverse");
  EXPECT_STREQ(OpName(Op::kForward), "forward");
  EXPECT_STREQ(OpName(Op::kSample), "sample");
  EXPECT_STREQ(OpName(Op::kScore), "score");
  EXPECT_STREQ(OpName(Op::kLogProbByColumn), "log_prob_by_column");
  EXPECT_STREQ(OpName(Op::kLogProbWithError), "log_prob_with_error");
}

RowSpan SpanOf(std::vector<float>& input, std::vector<double>& log, size_t cols) {
  RowSpan span;
  span.rows = log.size();
  span.input = {input.data(), NumberType::kFloat32, log.size(), cols};
  span.log = {log.data(), NumberType::kFloat64, log.size(), 1};
  span.first_row = 100;
  span.seed = 7;
  return span;
}

TEST(Slice, MovesEveryMatrixByItsOwnRowSize) {
  std::vector<float> input(30);
  std::vector<double> log(10);
  const RowSpan part = Slice(SpanOf(input, log, 3), 4, 5);
  EXPECT_EQ(part.rows, 5u);
  EXPECT_EQ(part.input.data, input.data() + 12);
  EXPECT_EQ(part.input.rows, 5u);
  EXPECT_EQ(part.input.cols, 3u);
  EXPECT_EQ(part.log.data, log.data() + 4);
  EXPECT_EQ(part.log.rows, 5u);
  EXPECT_EQ(part.first_row, 104u);
  EXPECT_EQ(part.seed, 7u);
  EXPECT_EQ(part.output.data, nullptr);
  EXPECT_EQ(part.context.data, nullptr);
}

TEST(Slice, KeepsASharedRowOfContextAndCutsAContextPerRow) {
  std::vector<float> input(30);
  std::vector<double> log(10);
  std::vector<float> context(20);
  RowSpan span = SpanOf(input, log, 3);
  span.context = {context.data(), NumberType::kFloat32, 1, 2};
  EXPECT_EQ(Slice(span, 4, 5).context.data, context.data());
  EXPECT_EQ(Slice(span, 4, 5).context.rows, 1u);
  span.context.rows = 10;
  EXPECT_EQ(Slice(span, 4, 5).context.data, context.data() + 8);
  EXPECT_EQ(Slice(span, 4, 5).context.rows, 5u);
}

TEST(Workspace, GivesAlignedMemoryThatGrows) {
  Workspace workspace;
  void* small = workspace.Reserve(100);
  ASSERT_NE(small, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(small) % 64, 0u);
  EXPECT_EQ(workspace.Reserve(64), small);
  void* large = workspace.Reserve(1 << 20);
  ASSERT_NE(large, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(large) % 64, 0u);
  static_cast<char*>(large)[(1 << 20) - 1] = 1;
}

TEST(Workspace, SaysThatMemoryIsShortAndGoesOn) {
#if defined(__SANITIZE_ADDRESS__) || defined(DENSITYD_SANITIZE_THREAD)
  GTEST_SKIP() << "sanitizers end the program when memory is short";
#endif
  Workspace workspace;
  EXPECT_EQ(workspace.Reserve(size_t{1} << 62), nullptr);
  EXPECT_NE(workspace.Reserve(64), nullptr);
}

}  // namespace
}  // namespace densityd::engine
