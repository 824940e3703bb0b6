#include "server/engine/cuda/staging.h"

#include <algorithm>

#include "server/engine/cuda/buckets.h"

namespace densityd::engine::cuda {
namespace {

/// What a copy or a kernel on the device likes sections to begin at.
constexpr size_t kAlignment = 256;

/// Appends a section of `bytes` bytes to a buffer that has `end` so far, and returns where it begins.
size_t Append(size_t bytes, size_t& end) {
  const size_t begin = end;
  end = (begin + bytes + kAlignment - 1) / kAlignment * kAlignment;
  return begin;
}

/// Of one stream's buffers. Rows of 784 float64 columns then travel 1024 at a time.
constexpr size_t kMostStagingBytes = size_t{32} << 20;

bool ReadsData(Op op) { return op != Op::kForward && op != Op::kSample; }

/// Buffers that hold a bucket of every operation.
StagingBytes BytesFor(const RowFormat& format, size_t bucket) {
  StagingBytes bytes;
  for (int op = 0; op < kOpCount; ++op) {
    const Staging staging = LayOut(format, static_cast<Op>(op), bucket);
    bytes.in = std::max(bytes.in, staging.in_bytes);
    bytes.out = std::max(bytes.out, staging.out_bytes);
  }
  return bytes;
}

}  // namespace

NumberType InputType(const RowFormat& format, Op op) { return ReadsData(op) ? format.data : format.base; }

NumberType OutputType(const RowFormat& format, Op op) { return op == Op::kInverse ? format.base : format.data; }

Staging LayOut(const RowFormat& format, Op op, size_t bucket) {
  Staging staging;
  const size_t row_bytes = op == Op::kSample ? sizeof(NoiseKey) : format.features * NumberBytes(InputType(format, op));
  staging.input = Append(bucket * row_bytes, staging.in_bytes);
  staging.context = Append(bucket * format.context_features * NumberBytes(format.context), staging.in_bytes);
  if (op != Op::kLogProb) {
    staging.output = Append(bucket * format.features * NumberBytes(OutputType(format, op)), staging.out_bytes);
  }
  staging.log = Append(bucket * sizeof(double), staging.out_bytes);
  return staging;
}

size_t LargestRun(const RowFormat& format) {
  size_t largest = kBuckets.front();
  for (size_t bucket : kBuckets) {
    const StagingBytes bytes = BytesFor(format, bucket);
    if (bytes.in + bytes.out <= kMostStagingBytes) largest = bucket;
  }
  return largest;
}

StagingBytes LargestStaging(const RowFormat& format) { return BytesFor(format, LargestRun(format)); }

}  // namespace densityd::engine::cuda
