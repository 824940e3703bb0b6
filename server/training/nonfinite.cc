#include "server/training/nonfinite.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "server/flow/transform.h"

namespace densityd::training {
namespace {

bool AllFinite(const torch::Tensor& tensor) { return tensor.isfinite().all().item<bool>(); }

flow::Transform& AsTransform(const std::shared_ptr<torch::nn::Module>& module) {
  return dynamic_cast<flow::Transform&>(*module);
}

}  // namespace

std::string FindNonfiniteOutput(flow::Flow& flow, const RowTensors& batch) {
  const torch::NoGradGuard no_grad;
  const auto children = flow.named_children();
  const torch::Tensor context = flow.PrepareContext(batch.context);
  if (context.defined() && !AllFinite(context)) return "context_preprocessing";
  torch::Tensor rows = batch.x;
  for (const auto& layer : children["layers"]->named_children()) {
    const flow::Mapped mapped = AsTransform(layer.value()).Inverse(rows, context);
    if (!AllFinite(mapped.value)) return absl::StrCat("output of layers.", layer.key());
    if (!AllFinite(mapped.log_abs_det)) return absl::StrCat("log|det| of layers.", layer.key());
    rows = mapped.value;
  }
  return AllFinite(flow.LogProb(batch.x, batch.context)) ? "" : "density of the base distribution";
}

std::string FindNonfinite(flow::Flow& flow, const FlatParameters& parameters, const RowTensors& batch) {
  if (const std::string name = parameters.FirstNonfinite(parameters.values()); !name.empty()) {
    return absl::StrCat("parameter ", name);
  }
  if (std::string place = FindNonfiniteOutput(flow, batch); !place.empty()) return place;
  const std::string name = parameters.FirstNonfinite(parameters.gradients());
  return name.empty() ? "the loss" : absl::StrCat("gradient of ", name);
}

}  // namespace densityd::training
