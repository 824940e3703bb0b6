// Selected rows as tensors on the training's device.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "density/v1/flow_spec.pb.h"
#include "server/training/training_data.h"
#include "torch/types.h"

namespace densityd::training {

/// Rows x (N, D) and their context (N, C), or undefined.
struct RowTensors {
  torch::Tensor x;
  torch::Tensor context;

  int64_t rows() const { return x.size(0); }
  /// The rows that `indices` name, on the device of these.
  RowTensors Select(absl::Span<const int64_t> indices) const;
  /// Rows [begin, begin + count).
  RowTensors Slice(int64_t begin, int64_t count) const;
};

/// `rows`, whose first `features` columns are x and whose others are the context, in float64 on `device`: on the CPU
/// views of `rows`, whose memory must outlive them.
RowTensors ToDoubleTensors(const SelectedRows& rows, size_t features, torch::Device device);

/// `rows` as the float32 flow of `spec` takes them: float32, but float64 where it preprocesses them first, because it
/// centres and scales before it rounds.
RowTensors ForTraining(const RowTensors& rows, const density::v1::FlowSpec& spec);

}  // namespace densityd::training
