// The bit promise: a row's answer depends on that row alone.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <thread>

#include "gtest/gtest.h"
#include "hwy/targets.h"
#include "server/engine/cpu/cpu_plan.h"
#include "server/engine/cpu/kernels.h"
#include "tests/engine/cpu/models.h"
#include "tests/engine/cpu/run.h"

namespace densityd::engine::cpu {
namespace {

constexpr size_t kRows = 300;
constexpr Op kOps[] = {Op::kLogProb, Op::kInverse, Op::kForward, Op::kSample};

/// Bytes, so that NaN equals NaN and -0 differs from 0.
std::vector<uint32_t> Bits(const std::vector<float>& numbers) {
  std::vector<uint32_t> bits(numbers.size());
  if (!numbers.empty()) std::memcpy(bits.data(), numbers.data(), numbers.size() * sizeof(float));
  return bits;
}

/// Logs and values of `count` rows from `begin` on.
std::vector<uint32_t> BitsOfRows(const Answer& answer, size_t begin, size_t count) {
  const size_t features = answer.value.size() / answer.log.size();
  std::vector<float> numbers(answer.log.begin() + begin, answer.log.begin() + begin + count);
  numbers.insert(numbers.end(), answer.value.begin() + begin * features,
                 answer.value.begin() + (begin + count) * features);
  return Bits(numbers);
}

void ExpectSameBits(const Answer& answer, const Answer& expected, const std::string& what) {
  EXPECT_EQ(Bits(answer.log), Bits(expected.log)) << what;
  EXPECT_EQ(Bits(answer.value), Bits(expected.value)) << what;
}

/// `count` rows of `rows`, from `begin` on.
Rows Part(const Rows& rows, size_t begin, size_t count, size_t features, size_t context) {
  Rows part = rows;
  part.rows = count;
  part.first_row += begin;
  part.input.assign(rows.input.begin() + begin * features, rows.input.begin() + (begin + count) * features);
  part.context.assign(rows.context.begin() + begin * context, rows.context.begin() + (begin + count) * context);
  return part;
}

/// Kernels run on this SIMD target until it is destroyed.
class OnTarget {
 public:
  explicit OnTarget(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(target);
  }
  ~OnTarget() {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  OnTarget(const OnTarget&) = delete;
  OnTarget& operator=(const OnTarget&) = delete;
};

class BitsTest : public testing::TestWithParam<Model> {
 protected:
  void SetUp() override {
    auto plan = CompileCpuPlan(GetParam().spec, GetParam().tensors);
    ASSERT_TRUE(plan.ok()) << plan.status().ToString();
    plan_ = *std::move(plan);
    rows_.rows = kRows;
    rows_.seed = 3;
    rows_.first_row = 1'000'000'000;  // deep in a sample, whose earlier rows nobody made
    rows_.input = DataRows(GetParam(), kRows, 5);
    rows_.context = ContextRows(GetParam(), kRows, 6);
  }

  /// Random pieces of the rows, several of them in each run, as a scheduler fuses requests.
  Answer RunInRandomMix(Op op, uint64_t seed) const {
    std::mt19937_64 random(seed);
    Answer answer;
    const RowSpan all = SpanOf(*plan_, op, rows_, answer);
    Workspace workspace;
    std::vector<RowSpan> run;
    size_t run_rows = 0;
    for (size_t begin = 0; begin < kRows;) {
      const size_t room = plan_->info().tile_rows - run_rows;
      const size_t count = std::min({size_t{1} + random() % 12, kRows - begin, room});
      run.push_back(Slice(all, begin, count));
      begin += count;
      run_rows += count;
      if (random() % 4 == 0 || run_rows == plan_->info().tile_rows || begin == kRows) {
        EXPECT_TRUE(plan_->Run(op, run, workspace).ok());
        run.clear();
        run_rows = 0;
      }
    }
    return answer;
  }

  std::unique_ptr<Plan> plan_;
  Rows rows_;
};

TEST_P(BitsTest, RowsHaveTheSameBitsInRunsOfAnySize) {
  for (Op op : kOps) {
    const Answer expected = RunPlan(*plan_, op, rows_, 64);
    for (size_t run_rows : {1, 2, 3, 4, 7, 8, 9, 16, 31, 50}) {
      ExpectSameBits(RunPlan(*plan_, op, rows_, run_rows), expected,
                     std::string(OpName(op)) + " in runs of " + std::to_string(run_rows));
    }
  }
}

TEST_P(BitsTest, RowsHaveTheSameBitsInARunOfEverySize) {
  const size_t features = plan_->info().features;
  for (Op op : kOps) {
    const Answer expected = RunPlan(*plan_, op, rows_, 64);
    for (size_t count = 1; count <= plan_->info().tile_rows; ++count) {
      const Answer answer = RunPlan(*plan_, op, Part(rows_, 0, count, features, plan_->info().context_features), count);
      ASSERT_EQ(BitsOfRows(answer, 0, count), BitsOfRows(expected, 0, count)) << OpName(op) << ", rows " << count;
    }
  }
}

TEST_P(BitsTest, RowsHaveTheSameBitsInAnyMixOfRequests) {
  for (Op op : kOps) {
    const Answer expected = RunPlan(*plan_, op, rows_, 64);
    for (uint64_t seed : {1, 2, 3}) ExpectSameBits(RunInRandomMix(op, seed), expected, OpName(op));
  }
}

TEST_P(BitsTest, RowsHaveTheSameBitsOnEveryThread) {
  for (Op op : {Op::kLogProb, Op::kSample}) {
    const Answer expected = RunPlan(*plan_, op, rows_, 64);
    Answer answers[3];
    std::vector<std::thread> threads;
    for (Answer& answer : answers) {
      threads.emplace_back([&, this] { answer = RunInRandomMix(op, 20 + (&answer - answers)); });
    }
    for (std::thread& thread : threads) thread.join();
    for (const Answer& answer : answers) ExpectSameBits(answer, expected, OpName(op));
  }
}

TEST_P(BitsTest, Avx2AndAvx512GiveTheSameBits) {
  const int64_t supported = hwy::SupportedTargets();
  if ((supported & HWY_AVX3) == 0 || (supported & HWY_AVX2) == 0) GTEST_SKIP() << "needs AVX-512 and AVX2";
  for (Op op : kOps) {
    const Answer tile = RunPlan(*plan_, op, rows_, 64);
    const OnTarget avx2(HWY_AVX2);
    EXPECT_STREQ(TargetName(), "AVX2");
    ExpectSameBits(RunPlan(*plan_, op, rows_, 64), tile, std::string(OpName(op)) + " in tiles");
    for (size_t run_rows : {1, 4, 6, 23}) {
      ExpectSameBits(RunPlan(*plan_, op, rows_, run_rows), tile, OpName(op));
    }
    ExpectSameBits(RunInRandomMix(op, 10), tile, std::string(OpName(op)) + " in a mix of requests");
  }
}

TEST_P(BitsTest, ThePortableTargetKeepsThePromiseForItself) {
  const OnTarget portable(HWY_STATIC_TARGET);
  ASSERT_EQ(std::string(TargetName()).find("AVX"), std::string::npos) << TargetName();
  for (Op op : kOps) {
    const Answer tile = RunPlan(*plan_, op, rows_, 64);
    for (size_t run_rows : {1, 4, 6, 23}) {
      ExpectSameBits(RunPlan(*plan_, op, rows_, run_rows), tile, OpName(op));
    }
  }
}

TEST_P(BitsTest, BadRowsLeaveTheirNeighboursAlone) {
  const float bad[] = {std::nanf(""), std::numeric_limits<float>::infinity(), -1e38f, 1e-42f};
  for (Op op : {Op::kLogProb, Op::kInverse, Op::kForward}) {
    const Answer expected = RunPlan(*plan_, op, rows_, 64);
    Rows mixed = rows_;
    const size_t features = plan_->info().features;
    for (size_t row = 0; row < kRows; row += 3) mixed.input[row * features + row % features] = bad[row % 4];
    for (size_t run_rows : {64, 7}) {
      const Answer answer = RunPlan(*plan_, op, mixed, run_rows);
      for (size_t row = 0; row < kRows; ++row) {
        if (row % 3 == 0) continue;
        ASSERT_EQ(BitsOfRows(answer, row, 1), BitsOfRows(expected, row, 1)) << OpName(op) << " row " << row;
      }
    }
  }
}

TEST_P(BitsTest, OneBadRowLeavesTheOthersOfItsTileAlone) {
  const float infinity = std::numeric_limits<float>::infinity();
  const size_t features = plan_->info().features;
  const size_t context = plan_->info().context_features;
  for (Op op : {Op::kLogProb, Op::kForward}) {
    for (size_t tile : {64, 8, 3}) {
      const Rows healthy = Part(rows_, 0, tile, features, context);
      const Answer expected = RunPlan(*plan_, op, healthy, tile);
      size_t bad_row = 0;
      for (float bad : {std::nanf(""), infinity, -infinity, 1e38f, -1e38f, 1e-42f}) {
        bad_row = (bad_row + 29) % tile;
        Rows mixed = healthy;
        std::fill_n(mixed.input.begin() + bad_row * features, features, bad);
        std::fill_n(mixed.context.begin() + bad_row * context, context, bad);
        const Answer answer = RunPlan(*plan_, op, mixed, tile);
        for (size_t row = 0; row < tile; ++row) {
          if (row == bad_row) continue;
          ASSERT_EQ(BitsOfRows(answer, row, 1), BitsOfRows(expected, row, 1))
              << OpName(op) << " with " << bad << " in row " << bad_row << " of " << tile << ", row " << row;
        }
        if (std::isnan(bad) && op == Op::kLogProb) {
          EXPECT_TRUE(std::isnan(answer.log[bad_row]));
        }
      }
    }
  }
}

TEST_P(BitsTest, AChunkOfASampleIsThatPartOfTheWhole) {
  const Answer whole = RunPlan(*plan_, Op::kSample, rows_, 64);
  const size_t features = plan_->info().features;
  const Rows part = Part(rows_, 123, 50, features, plan_->info().context_features);
  const Answer chunk = RunPlan(*plan_, Op::kSample, part, 8);
  EXPECT_EQ(BitsOfRows(chunk, 0, 50), BitsOfRows(whole, 123, 50));
}

INSTANTIATE_TEST_SUITE_P(AllModels, BitsTest, testing::ValuesIn(AllModels()), [](const auto& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace densityd::engine::cpu
