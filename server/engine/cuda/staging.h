// Where the numbers of a run stand in the two buffers that travel: one to the device, one back.
#pragma once

#include <cstddef>

#include "server/base/matrix.h"
#include "server/engine/cuda/noise_key.h"
#include "server/engine/plan.h"

namespace densityd::engine::cuda {

/// What rows look like on the device's side.
struct RowFormat {
  size_t features = 0;
  size_t context_features = 0;
  NumberType data = NumberType::kFloat32;     ///< x
  NumberType base = NumberType::kFloat32;     ///< z; also the precision of the arithmetic
  NumberType context = NumberType::kFloat32;  ///< context
};

/// Byte offsets of sections, each on a boundary of 256 bytes, for runs of one operation and size.
struct Staging {
  size_t input = 0;      ///< to the device: rows (bucket, D), or for samples a NoiseKey for each row
  size_t context = 0;    ///< to the device: (bucket, C)
  size_t in_bytes = 0;   ///< of the buffer to the device
  size_t output = 0;     ///< back: rows (bucket, D); absent for log_prob
  size_t log = 0;        ///< back: log p or log|det| (bucket), float64
  size_t out_bytes = 0;  ///< of the buffer back
};

/// Type of the rows that `op` reads, or writes.
NumberType InputType(const RowFormat& format, Op op);
NumberType OutputType(const RowFormat& format, Op op);

Staging LayOut(const RowFormat& format, Op op, size_t bucket);

/// The largest bucket whose buffers are not too large to keep for each stream: pinned memory is taken from everybody.
size_t LargestRun(const RowFormat& format);

/// Bytes of buffers that hold every run of up to LargestRun rows.
struct StagingBytes {
  size_t in = 0;
  size_t out = 0;
};
StagingBytes LargestStaging(const RowFormat& format);

}  // namespace densityd::engine::cuda
