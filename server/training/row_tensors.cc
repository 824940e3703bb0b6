#include "server/training/row_tensors.h"

namespace densityd::training {

RowTensors RowTensors::Select(const torch::Tensor& indices) const {
  return {x.index_select(0, indices), context.defined() ? context.index_select(0, indices) : context};
}

RowTensors RowTensors::Slice(int64_t begin, int64_t count) const {
  return {x.narrow(0, begin, count), context.defined() ? context.narrow(0, begin, count) : context};
}

RowTensors ToDoubleTensors(const SelectedRows& rows, size_t features, torch::Device device) {
  const auto count = static_cast<int64_t>(rows.rows);
  const auto columns = count == 0 ? 0 : static_cast<int64_t>(rows.values.size()) / count;
  const auto split = static_cast<int64_t>(features);
  // from_blob takes no const pointer; the numbers are only copied from.
  const torch::Tensor all =
      torch::from_blob(const_cast<double*>(rows.values.data()), {count, columns}, torch::kFloat64);
  const auto copy = [&](int64_t begin, int64_t width) {
    return all.narrow(1, begin, width).to(device, torch::kFloat64, /*non_blocking=*/false, /*copy=*/true).contiguous();
  };
  RowTensors tensors;
  tensors.x = copy(0, split);
  if (columns > split) tensors.context = copy(split, columns - split);
  return tensors;
}

RowTensors ForTraining(const RowTensors& rows, const density::v1::FlowSpec& spec) {
  RowTensors tensors = rows;
  if (!spec.layers(0).has_standardize() && !spec.layers(0).has_preprocessing()) tensors.x = rows.x.to(torch::kFloat32);
  const bool exact_context = spec.has_context_preprocessing() || spec.has_context_encoding();
  if (rows.context.defined() && !exact_context) tensors.context = rows.context.to(torch::kFloat32);
  return tensors;
}

}  // namespace densityd::training
