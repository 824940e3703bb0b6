// A plan that runs rows in buckets on a device. Knows neither LibTorch nor CUDA.
#pragma once

#include <functional>
#include <memory>

#include "server/engine/cuda/device_stream.h"
#include "server/engine/cuda/staging.h"
#include "server/engine/plan.h"

namespace densityd::engine::cuda {

/// Streams of one plan: copies of one overlap with kernels of another; more than a few only cost memory.
inline constexpr size_t kMostStreams = 4;

struct BucketPlanParts {
  PlanInfo info;  ///< tile_rows is LargestRun(format)
  RowFormat format;
  StreamFactory make_stream;
  std::function<PlanDescription(Op)> describe;
};

/// Gathers a run's rows into the buffer of a stream, runs the smallest bucket that holds them, and scatters the
/// answers. Where the device's memory is short, what is kept for later is given back and the rows are run in two
/// halves, once; after that it is RESOURCE_EXHAUSTED. Noise is made on the device from the keys of the rows.
std::unique_ptr<Plan> MakeBucketPlan(BucketPlanParts parts);

}  // namespace densityd::engine::cuda
