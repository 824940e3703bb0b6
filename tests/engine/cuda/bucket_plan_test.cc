// What a plan does around its device: buckets, buffers, streams, and memory that runs short. The device is a fake.
#include "server/engine/cuda/bucket_plan.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/errors.h"
#include "server/engine/cuda/buckets.h"
#include "server/engine/cuda/stream_pool.h"

namespace densityd::engine::cuda {
namespace {

using ::testing::ElementsAre;

TEST(BucketsTest, ARunTakesTheSmallestBucketThatHoldsIt) {
  size_t below = 0;
  for (size_t bucket : kBuckets) {
    EXPECT_EQ(BucketFor(below + 1), bucket);
    EXPECT_EQ(BucketFor(bucket), bucket);
    EXPECT_EQ(kBuckets[BucketIndex(bucket)], bucket);
    below = bucket;
  }
}

RowFormat Format(size_t features, size_t context) {
  return {features, context, NumberType::kFloat64, NumberType::kFloat32, NumberType::kFloat64};
}

TEST(StagingTest, SectionsAreAlignedAndDoNotOverlap) {
  const RowFormat format = Format(3, 2);
  for (int op = 0; op < kOpCount; ++op) {
    for (size_t bucket : kBuckets) {
      const Staging staging = LayOut(format, static_cast<Op>(op), bucket);
      const size_t input_bytes = bucket * 3 * NumberBytes(InputType(format, static_cast<Op>(op)));
      EXPECT_GE(staging.context, staging.input + input_bytes);
      EXPECT_GE(staging.in_bytes, staging.context + bucket * 2 * sizeof(double));
      EXPECT_GE(staging.out_bytes, staging.log + bucket * sizeof(double));
      for (size_t begin : {staging.input, staging.context, staging.output, staging.log}) EXPECT_EQ(begin % 256, 0u);
    }
  }
  EXPECT_EQ(LayOut(format, Op::kLogProb, 1).log, 0u) << "log p is all that comes back";
  EXPECT_GE(LayOut(format, Op::kSample, 64).context, 64 * sizeof(NoiseKey));
}

TEST(StagingTest, DataTravelsInItsPrecisionAndTheBaseInThatOfTheArithmetic) {
  const RowFormat format = Format(3, 0);
  EXPECT_EQ(InputType(format, Op::kLogProb), NumberType::kFloat64);
  EXPECT_EQ(InputType(format, Op::kForward), NumberType::kFloat32);
  EXPECT_EQ(OutputType(format, Op::kInverse), NumberType::kFloat32);
  EXPECT_EQ(OutputType(format, Op::kSample), NumberType::kFloat64);
}

TEST(StagingTest, WideRowsTravelInSmallerRuns) {
  EXPECT_EQ(LargestRun(Format(6, 0)), kBuckets.back());
  for (size_t features : {1, 63, 784, 100000}) {
    const StagingBytes bytes = LargestStaging(Format(features, 0));
    EXPECT_TRUE(bytes.in + bytes.out <= size_t{32} << 20 || LargestRun(Format(features, 0)) == 1);
  }
  EXPECT_LT(LargestRun(Format(784, 0)), kBuckets.back());
}

/// What the fake devices of a test share. log = sum x + 10 sum c; rows out = rows in + 1, or (seed, row) for samples.
struct Probe {
  std::atomic<int> streams{0};
  std::atomic<int> releases{0};
  std::atomic<size_t> memory_rows{SIZE_MAX};           ///< more rows than this do not fit the device
  std::atomic<size_t> memory_after_release{SIZE_MAX};  ///< … and after memory was given back
  std::atomic<bool> fails{false};
  std::vector<size_t> buckets;  ///< of the runs that were tried; single-threaded tests only
  bool records = true;
};

class FakeStream final : public DeviceStream {
 public:
  FakeStream(const RowFormat& format, std::shared_ptr<Probe> probe)
      : format_(format),
        probe_(std::move(probe)),
        input_(LargestStaging(format).in, std::byte{0x7f}),
        output_(LargestStaging(format).out) {
    ++probe_->streams;
  }

  std::byte* input() override { return input_.data(); }
  const std::byte* output() const override { return output_.data(); }

  absl::Status Run(Op op, size_t bucket) override {
    if (probe_->records) probe_->buckets.push_back(bucket);
    if (probe_->fails) return InternalError("the device is gone");
    if (bucket > probe_->memory_rows) return ResourceExhausted("memory", "out of device memory");
    const Staging staging = LayOut(format_, op, bucket);
    for (size_t row = 0; row < bucket; ++row) {
      double log = 0;
      for (size_t j = 0; j < format_.features; ++j) {
        const size_t i = row * format_.features + j;
        double x;
        if (op == Op::kSample) {
          NoiseKey key;
          std::memcpy(&key, input_.data() + staging.input + row * sizeof(key), sizeof(key));
          x = static_cast<double>(j == 0 ? key.seed : key.row);
        } else {
          x = Get(input_.data() + staging.input, InputType(format_, op), i) + 1;
        }
        log += x;
        if (op != Op::kLogProb) Set(output_.data() + staging.output, OutputType(format_, op), i, x);
      }
      for (size_t j = 0; j < format_.context_features; ++j) {
        log += 10 * Get(input_.data() + staging.context, format_.context, row * format_.context_features + j);
      }
      Set(output_.data() + staging.log, NumberType::kFloat64, row, log);
    }
    return absl::OkStatus();
  }

  void ReleaseMemory() override {
    ++probe_->releases;
    probe_->memory_rows = probe_->memory_after_release.load();
  }

 private:
  static double Get(const std::byte* section, NumberType type, size_t i) {
    return type == NumberType::kFloat32 ? reinterpret_cast<const float*>(section)[i]
                                        : reinterpret_cast<const double*>(section)[i];
  }
  static void Set(std::byte* section, NumberType type, size_t i, double value) {
    if (type == NumberType::kFloat32) {
      reinterpret_cast<float*>(section)[i] = static_cast<float>(value);
    } else {
      reinterpret_cast<double*>(section)[i] = value;
    }
  }

  const RowFormat format_;
  const std::shared_ptr<Probe> probe_;
  std::vector<std::byte> input_;
  std::vector<std::byte> output_;
};

class BucketPlanTest : public ::testing::Test {
 protected:
  explicit BucketPlanTest(size_t context = 0) {
    BucketPlanParts parts;
    parts.info.features = 2;
    parts.info.context_features = context;
    parts.format = Format(2, context);
    parts.info.tile_rows = LargestRun(parts.format);
    parts.make_stream = [format = parts.format, probe = probe_]() -> absl::StatusOr<std::unique_ptr<DeviceStream>> {
      return std::make_unique<FakeStream>(format, probe);
    };
    plan_ = MakeBucketPlan(std::move(parts));
  }

  /// Rows first, first + 1, … of x = (row, 0) in a request of their own; log must become row + 2 (+ 10 c).
  RowSpan Request(size_t first, size_t rows) {
    std::vector<double>& x = inputs_.emplace_back();
    for (size_t row = 0; row < rows; ++row) x.insert(x.end(), {static_cast<double>(first + row), 0});
    logs_.emplace_back(rows, -1);
    RowSpan span;
    span.rows = rows;
    span.input = {x.data(), NumberType::kFloat64, rows, 2};
    span.log = {logs_.back().data(), NumberType::kFloat64, rows, 1};
    return span;
  }

  static std::vector<double> Expected(size_t first, size_t rows) {
    std::vector<double> log(rows);
    std::iota(log.begin(), log.end(), static_cast<double>(first) + 2);
    return log;
  }

  absl::Status Run(Op op, const std::vector<RowSpan>& spans) { return plan_->Run(op, spans, workspace_); }

  const std::shared_ptr<Probe> probe_ = std::make_shared<Probe>();
  std::unique_ptr<Plan> plan_;
  Workspace workspace_;
  std::vector<std::vector<double>> inputs_;
  std::vector<std::vector<double>> logs_;
};

TEST_F(BucketPlanTest, RequestsOfARunShareABucket) {
  const std::vector<RowSpan> spans = {Request(0, 3), Request(100, 1), Request(200, 9)};
  ASSERT_TRUE(Run(Op::kLogProb, spans).ok());
  EXPECT_THAT(probe_->buckets, ElementsAre(16));
  EXPECT_EQ(logs_[0], Expected(0, 3));
  EXPECT_EQ(logs_[1], Expected(100, 1));
  EXPECT_EQ(logs_[2], Expected(200, 9));
}

TEST_F(BucketPlanTest, RowsComeBackInTheTypeThatWasAskedFor) {
  RowSpan span = Request(5, 2);
  std::vector<float> z(4);
  span.output = {z.data(), NumberType::kFloat32, 2, 2};
  span.log = {};
  ASSERT_TRUE(Run(Op::kInverse, {span}).ok());
  EXPECT_THAT(z, ElementsAre(6, 1, 7, 1));
}

TEST_F(BucketPlanTest, ASampleIsNamedBySeedAndRow) {
  std::vector<double> x(6);
  RowSpan one;
  one.rows = 2;
  one.seed = 7;
  one.first_row = 1000;
  one.output = {x.data(), NumberType::kFloat64, 2, 2};
  RowSpan other = one;
  other.rows = 1;
  other.seed = 8;
  other.first_row = 0;
  other.output = {x.data() + 4, NumberType::kFloat64, 1, 2};
  ASSERT_TRUE(Run(Op::kSample, {one, other}).ok());
  EXPECT_THAT(x, ElementsAre(7, 1000, 7, 1001, 8, 0));
}

TEST_F(BucketPlanTest, MoreRowsThanATileAreABug) {
  RowSpan span = Request(0, 1);
  span.rows = plan_->info().tile_rows + 1;
  EXPECT_TRUE(absl::IsInternal(Run(Op::kLogProb, {span})));
  EXPECT_TRUE(Run(Op::kLogProb, {}).ok());
  EXPECT_TRUE(probe_->buckets.empty());
}

TEST_F(BucketPlanTest, WhereMemoryIsShortItIsGivenBackAndHalvesAreRun) {
  probe_->memory_rows = 100;
  probe_->memory_after_release = 64;
  const std::vector<RowSpan> spans = {Request(0, 60), Request(100, 67)};  // the cut goes through the second
  ASSERT_TRUE(Run(Op::kLogProb, spans).ok());
  EXPECT_EQ(probe_->releases, 1);
  EXPECT_THAT(probe_->buckets, ElementsAre(256, 64, 64));
  EXPECT_EQ(logs_[0], Expected(0, 60));
  EXPECT_EQ(logs_[1], Expected(100, 67));
}

TEST_F(BucketPlanTest, MemoryThatStaysShortIsReportedAfterOneMoreTry) {
  probe_->memory_rows = 100;
  probe_->memory_after_release = 16;
  EXPECT_TRUE(absl::IsResourceExhausted(Run(Op::kLogProb, {Request(0, 128)})));
  EXPECT_THAT(probe_->buckets, ElementsAre(256, 64));
  probe_->memory_rows = SIZE_MAX;
  EXPECT_TRUE(Run(Op::kLogProb, {Request(0, 128)}).ok()) << "the plan goes on";
}

TEST_F(BucketPlanTest, ASingleRowIsTriedTwice) {
  probe_->memory_rows = 0;
  probe_->memory_after_release = SIZE_MAX;
  EXPECT_TRUE(Run(Op::kLogProb, {Request(0, 1)}).ok());
  EXPECT_THAT(probe_->buckets, ElementsAre(1, 1));
}

TEST_F(BucketPlanTest, OtherErrorsAreNotTriedAgain) {
  probe_->fails = true;
  EXPECT_TRUE(absl::IsInternal(Run(Op::kLogProb, {Request(0, 128)})));
  EXPECT_EQ(probe_->buckets.size(), 1u);
  EXPECT_EQ(probe_->releases, 0);
}

class BucketPlanWithContextTest : public BucketPlanTest {
 protected:
  BucketPlanWithContextTest() : BucketPlanTest(1) {}
};

TEST_F(BucketPlanWithContextTest, OneRowOfContextBelongsToAllRowsAlsoInHalves) {
  probe_->memory_rows = 4;
  probe_->memory_after_release = 4;
  const float shared = 1;
  const std::vector<float> own = {1, 2, 3};
  std::vector<RowSpan> spans = {Request(0, 3), Request(0, 3)};
  spans[0].context = {&shared, NumberType::kFloat32, 1, 1};
  spans[1].context = {own.data(), NumberType::kFloat32, 3, 1};
  ASSERT_TRUE(Run(Op::kLogProb, spans).ok());
  EXPECT_THAT(logs_[0], ElementsAre(12, 13, 14));
  EXPECT_THAT(logs_[1], ElementsAre(12, 23, 34));
}

TEST_F(BucketPlanTest, ALoneThreadUsesOneStreamAndManyUseAFew) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Run(Op::kLogProb, {Request(0, 1)}).ok());
  EXPECT_EQ(probe_->streams, 1);

  probe_->records = false;
  std::vector<RowSpan> spans;
  for (size_t i = 0; i < 12; ++i) spans.push_back(Request(i, 20));
  std::vector<std::thread> threads;
  for (const RowSpan& span : spans) {
    threads.emplace_back([this, span] {
      Workspace workspace;
      for (int i = 0; i < 50; ++i) EXPECT_TRUE(plan_->Run(Op::kLogProb, {&span, 1}, workspace).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(probe_->streams, static_cast<int>(kMostStreams));
  for (size_t i = 0; i < 12; ++i) EXPECT_EQ(logs_[i + 3], Expected(i, 20));
}

TEST(StreamPoolTest, AStreamThatCannotBeMadeIsAnErrorEachTime) {
  StreamPool pool([]() -> absl::StatusOr<std::unique_ptr<DeviceStream>> { return ResourceExhausted("memory", "full"); },
                  1);
  EXPECT_TRUE(absl::IsResourceExhausted(pool.Take().status()));
  EXPECT_TRUE(absl::IsResourceExhausted(pool.Take().status())) << "a failure takes no place";
}

}  // namespace
}  // namespace densityd::engine::cuda
