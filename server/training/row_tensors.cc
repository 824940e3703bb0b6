#include "server/training/row_tensors.h"

namespace densityd::training {

RowTensors RowTensors::Select(absl::Span<const int64_t> indices) const {
  // from_blob takes no const pointer; the numbers are only copied from.
  const torch::Tensor places =
      torch::from_blob(const_cast<int64_t*>(indices.data()), {static_cast<int64_t>(indices.size())}, torch::kInt64)
          .to(x.device());
  return {x.index_select(0, places), context.defined() ? context.index_select(0, places) : context};
}

RowTensors RowTensors::Slice(int64_t begin, int64_t count) const {
  const auto part = [&](const torch::Tensor& rows) { return rows.narrow(0, begin, count).contiguous(); };
  return {part(x), context.defined() ? part(context) : context};
}

RowTensors ToDoubleTensors(const SelectedRows& rows, size_t features, torch::Device device) {
  const auto count = static_cast<int64_t>(rows.rows);
  const auto columns = count == 0 ? 0 : static_cast<int64_t>(rows.values.size()) / count;
  const auto split = static_cast<int64_t>(features);
  // from_blob takes no const pointer; nobody writes to the rows of a training.
  const torch::Tensor all =
      torch::from_blob(const_cast<double*>(rows.values.data()), {count, columns}, torch::kFloat64);
  const auto part = [&](int64_t begin, int64_t width) {
    const torch::Tensor view = all.narrow(1, begin, width);
    return device.is_cpu() ? view : view.contiguous().to(device);
  };
  RowTensors tensors;
  tensors.x = part(0, split);
  if (columns > split) tensors.context = part(split, columns - split);
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
