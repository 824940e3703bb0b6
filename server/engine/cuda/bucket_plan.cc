#include "server/engine/cuda/bucket_plan.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "server/base/errors.h"
#include "server/engine/cuda/buckets.h"
#include "server/engine/cuda/stream_pool.h"
#include "server/engine/rows.h"

namespace densityd::engine::cuda {
namespace {

size_t RowsOf(absl::Span<const RowSpan> spans) {
  size_t rows = 0;
  for (const RowSpan& span : spans) rows += span.rows;
  return rows;
}

/// Rows [begin, begin + rows) of all `spans`, as spans.
std::vector<RowSpan> Part(absl::Span<const RowSpan> spans, size_t begin, size_t rows) {
  std::vector<RowSpan> parts;
  const size_t end = begin + rows;
  size_t at = 0;
  for (const RowSpan& span : spans) {
    const size_t first = std::max(at, begin);
    const size_t last = std::min(at + span.rows, end);
    if (first < last) parts.push_back(Slice(span, first - at, last - first));
    at += span.rows;
  }
  return parts;
}

/// Calls `use(number)` with a number of the type that `type` names.
template <typename Use>
void WithNumber(NumberType type, const Use& use) {
  constexpr float kFloat32 = 0;
  constexpr double kFloat64 = 0;
  if (type == NumberType::kFloat32) {
    use(kFloat32);
  } else {
    use(kFloat64);
  }
}

/// `copy(span, Number*)` for each span, at its rows' place in a section of `cols` columns.
template <typename Byte, typename Copy>
void ForEachSpan(absl::Span<const RowSpan> spans, NumberType type, size_t cols, Byte* section, const Copy& copy) {
  WithNumber(type, [&](auto number) {
    using Number = std::conditional_t<std::is_const_v<Byte>, const decltype(number), decltype(number)>;
    auto* at = reinterpret_cast<Number*>(section);
    for (const RowSpan& span : spans) {
      copy(span, at);
      at += span.rows * cols;
    }
  });
}

class BucketPlan final : public Plan {
 public:
  explicit BucketPlan(BucketPlanParts parts)
      : info_(std::move(parts.info)),
        format_(parts.format),
        describe_(std::move(parts.describe)),
        streams_(std::move(parts.make_stream), kMostStreams) {}

  const PlanInfo& info() const override { return info_; }
  PlanDescription Describe(Op op) const override { return describe_(op); }

  absl::Status Run(Op op, absl::Span<const RowSpan> spans, Workspace& /*workspace*/) const override {
    if (!info_.runs(op)) return InternalError(std::string("this plan has no ") + OpName(op));
    const size_t rows = RowsOf(spans);
    if (rows == 0) return absl::OkStatus();
    if (rows > info_.tile_rows) return InternalError("a run has more rows than the plan's tile");
    absl::StatusOr<StreamPool::Lease> stream = streams_.Take();
    if (!stream.ok()) return stream.status();
    const absl::Status status = RunOn(**stream, op, spans, rows);
    return absl::IsResourceExhausted(status) ? RunHalves(**stream, op, spans, rows) : status;
  }

 private:
  absl::Status RunOn(DeviceStream& stream, Op op, absl::Span<const RowSpan> spans, size_t rows) const {
    const size_t bucket = BucketFor(rows);
    const Staging staging = LayOut(format_, op, bucket);
    Gather(op, spans, staging, stream.input());
    if (absl::Status status = stream.Run(op, bucket); !status.ok()) return status;
    Scatter(op, spans, staging, stream.output());
    return absl::OkStatus();
  }

  /// The second try, with as much memory as there can be.
  absl::Status RunHalves(DeviceStream& stream, Op op, absl::Span<const RowSpan> spans, size_t rows) const {
    stream.ReleaseMemory();
    const size_t half = (rows + 1) / 2;
    for (size_t begin = 0; begin < rows; begin += half) {
      const size_t count = std::min(half, rows - begin);
      absl::Status status = RunOn(stream, op, Part(spans, begin, count), count);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  void Gather(Op op, absl::Span<const RowSpan> spans, const Staging& staging, std::byte* buffer) const {
    if (op == Op::kSample) {
      GatherNoiseKeys(spans, buffer + staging.input);
    } else {
      ForEachSpan(spans, InputType(format_, op), format_.features, buffer + staging.input,
                  [](const RowSpan& span, auto* to) { ReadRows(span.input, to); });
    }
    if (format_.context_features == 0) return;
    ForEachSpan(spans, format_.context, format_.context_features, buffer + staging.context,
                [](const RowSpan& span, auto* to) { ReadContext(span.context, span.rows, to); });
  }

  static void GatherNoiseKeys(absl::Span<const RowSpan> spans, std::byte* to) {
    for (const RowSpan& span : spans) {
      for (size_t row = 0; row < span.rows; ++row, to += sizeof(NoiseKey)) {
        const NoiseKey key = {span.seed, span.first_row + row};
        std::memcpy(to, &key, sizeof(key));
      }
    }
  }

  void Scatter(Op op, absl::Span<const RowSpan> spans, const Staging& staging, const std::byte* buffer) const {
    if (op != Op::kLogProb) {
      ForEachSpan(spans, OutputType(format_, op), format_.features, buffer + staging.output,
                  [](const RowSpan& span, const auto* from) {
                    if (span.output.data != nullptr) WriteRows(from, span.output);
                  });
    }
    ForEachSpan(spans, NumberType::kFloat64, 1, buffer + staging.log, [](const RowSpan& span, const auto* from) {
      if (span.log.data != nullptr) WriteRows(from, span.log);
    });
  }

  const PlanInfo info_;
  const RowFormat format_;
  const std::function<PlanDescription(Op)> describe_;
  mutable StreamPool streams_;
};

}  // namespace

std::unique_ptr<Plan> MakeBucketPlan(BucketPlanParts parts) { return std::make_unique<BucketPlan>(std::move(parts)); }

}  // namespace densityd::engine::cuda
