#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/flow/flow.h"
#include "server/flow/row_shape.h"
#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

using density::v1::FlowSpec;
using density::v1::Standardize;

constexpr int64_t kRowsAtOnce = 4096;

void Fill(const Tensor& numbers, google::protobuf::RepeatedField<double>& field) {
  if (!field.empty()) return;
  const Tensor contiguous = numbers.cpu().contiguous();
  const double* begin = contiguous.const_data_ptr<double>();
  field.Add(begin, begin + contiguous.numel());
}

// Some rows after the other: LibTorch's own reductions go through all of them for each column, and rows that do not fit
// into memory would be read as often.
Tensor SumOf(const Tensor& rows, const std::function<Tensor(const Tensor&)>& map) {
  Tensor sum = torch::zeros({rows.size(1)}, rows.options().dtype(torch::kFloat64));
  for (const Tensor& some : rows.split(kRowsAtOnce)) sum += map(some.to(torch::kFloat64)).sum(0);
  return sum;
}

absl::Status Fit(const Tensor& rows, const std::string& field, Standardize& standardize) {
  const auto count = static_cast<double>(rows.size(0));
  // Differences from the first row: columns far from 0 would lose their digits otherwise.
  const Tensor origin = rows[0].to(torch::kFloat64);
  Tensor mean = origin + SumOf(rows, [&](const Tensor& some) { return some - origin; }) / count;
  Tensor deviation = (SumOf(rows, [&](const Tensor& some) { return (some - mean).square(); }) / count).sqrt();
  for (int64_t column : standardize.unchanged()) {
    mean[column] = 0;
    deviation[column] = 1;
  }
  const Tensor constant = (deviation > 0).logical_not().nonzero();
  if (standardize.scale().empty() && constant.size(0) > 0) {
    return InvalidArgument(field, absl::StrCat("column ", constant[0].item<int64_t>(), " is constant"));
  }
  Fill(mean, *standardize.mutable_mean());
  Fill(deviation, *standardize.mutable_scale());
  return absl::OkStatus();
}

// The rows as they leave the first `count` layers, whose standardisations are fitted.
absl::StatusOr<Tensor> RowsAfter(const FlowSpec& spec, int count, const Tensor& x, const Tensor& context) {
  if (count == 0) return x;
  FlowSpec prefix = spec;
  prefix.mutable_layers()->DeleteSubrange(count, spec.layers_size() - count);
  auto flow = BuildFlow(prefix, /*seed=*/0);
  if (!flow.ok()) return flow.status();
  (*flow)->to(x.device());
  (*flow)->eval();
  const Mapped mapped = (*flow)->Inverse(x.to(torch::kFloat64), context);
  const Tensor undefined = mapped.log_abs_det.isfinite().logical_not().nonzero();
  if (undefined.size(0) == 0) return mapped.value;
  return InvalidRow("rows", undefined[0].item<int64_t>(),
                    absl::StrCat("one of the layers 0 … ", count - 1, " is not defined at it"));
}

}  // namespace

absl::StatusOr<FlowSpec> FitStandardize(FlowSpec spec, const Tensor& x, const Tensor& context) {
  if (auto status = CheckFlowSpec(spec); !status.ok()) return status;
  const torch::NoGradGuard no_grad;
  if (spec.has_context_preprocessing()) {
    auto status = Fit(context, "spec.context_preprocessing", *spec.mutable_context_preprocessing());
    if (!status.ok()) return status;
  }
  const std::vector<RowShape> shapes = LayerShapes(spec);
  for (int i = 0; i < spec.layers_size(); ++i) {
    if (!spec.layers(i).has_standardize()) continue;
    Standardize& standardize = *spec.mutable_layers(i)->mutable_standardize();
    if (!standardize.mean().empty() && !standardize.scale().empty()) continue;
    const auto rows = RowsAfter(spec, i, x, context);
    if (!rows.ok()) return rows.status();
    const std::string field = absl::StrCat("spec.layers[", i, "].standardize");
    const Tensor seen = rows->narrow(1, 0, shapes[i].columns);
    if (auto status = Fit(seen, field, standardize); !status.ok()) return status;
  }
  return spec;
}

}  // namespace densityd::flow
