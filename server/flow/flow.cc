#include "server/flow/flow.h"

#include <string>
#include <utility>

#include "server/flow/continuous.h"
#include "server/flow/spec.h"

namespace densityd::flow {

Flow::Flow(density::v1::FlowSpec spec, std::shared_ptr<BaseDistribution> base,
           std::vector<std::shared_ptr<Transform>> layers, std::shared_ptr<Transform> context_preprocessing,
           std::shared_ptr<ContextEncoding> context_encoding)
    : spec_(std::move(spec)),
      base_(std::move(base)),
      layers_(std::move(layers)),
      context_preprocessing_(std::move(context_preprocessing)),
      context_encoding_(std::move(context_encoding)) {
  register_module("base", base_);
  const auto list = register_module("layers", std::make_shared<Module>());
  for (size_t i = 0; i < layers_.size(); ++i) list->register_module(std::to_string(i), layers_[i]);
  if (context_preprocessing_) register_module("context_preprocessing", context_preprocessing_);
  if (context_encoding_) register_module("context_encoding", context_encoding_);
}

Tensor Flow::LogProb(const Tensor& x, const Tensor& context) {
  // Once for both: an encoding may draw noise in training.
  const Tensor prepared = PrepareContext(context);
  const Mapped base = InverseOfPrepared(x, prepared);
  return base_->LogProb(base.value, prepared) + base.log_abs_det;
}

Tensor Flow::TrainingLoss(const Tensor& x, const Tensor& context) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& layer = spec_.layers(static_cast<int>(i));
    if (layer.continuous().objective() == density::v1::Continuous::FLOW_MATCHING) return MatchingLoss(i, x, context);
  }
  const Tensor prepared = PrepareContext(context);
  Mapped z{x, Tensor()};
  Tensor penalty;
  for (const auto& layer : layers_) {
    const Regularised part = layer->InverseForTraining(z.value, prepared);
    z = {part.mapped.value,
         z.log_abs_det.defined() ? z.log_abs_det + part.mapped.log_abs_det : part.mapped.log_abs_det};
    if (part.penalty.defined()) penalty = penalty.defined() ? penalty + part.penalty : part.penalty;
  }
  const Tensor surprise = -(base_->LogProb(z.value, prepared) + z.log_abs_det);
  return penalty.defined() ? surprise + penalty : surprise;
}

Tensor Flow::MatchingLoss(size_t index, const Tensor& x, const Tensor& context) {
  const Tensor prepared = PrepareContext(context);
  Tensor start = x;
  for (size_t i = 0; i < index; ++i) start = layers_[i]->Inverse(start, prepared).value;
  const Tensor noise = torch::randn({x.size(0), NoiseColumns(spec_.base(), spec_.features())}, start.options());
  Tensor end = BaseFromNoise(noise, context);
  for (size_t i = layers_.size(); --i > index;) end = layers_[i]->Forward(end, prepared).value;
  return static_cast<Continuous&>(*layers_[index]).MatchingLoss(start, end, prepared);
}

Mapped Flow::Inverse(const Tensor& x, const Tensor& context) { return InverseOfPrepared(x, PrepareContext(context)); }

Mapped Flow::InverseOfPrepared(const Tensor& x, const Tensor& prepared) {
  Mapped z = layers_.front()->Inverse(x, prepared);
  for (size_t i = 1; i < layers_.size(); ++i) {
    const Mapped mapped = layers_[i]->Inverse(z.value, prepared);
    z = {mapped.value, z.log_abs_det + mapped.log_abs_det};
  }
  return z;
}

Mapped Flow::Forward(const Tensor& z, const Tensor& context) {
  const Tensor prepared = PrepareContext(context);
  Mapped x = layers_.back()->Forward(z, prepared);
  for (size_t i = layers_.size() - 1; i-- > 0;) {
    const Mapped mapped = layers_[i]->Forward(x.value, prepared);
    x = {mapped.value, x.log_abs_det + mapped.log_abs_det};
  }
  return x;
}

Tensor Flow::BaseFromNoise(const Tensor& noise, const Tensor& context) {
  return base_->FromNoise(noise, PrepareContext(context));
}

Tensor Flow::BaseLogProb(const Tensor& z, const Tensor& context) { return base_->LogProb(z, PrepareContext(context)); }

void Flow::InitializeFromData(const Tensor& x, const Tensor& context) {
  const torch::NoGradGuard no_grad;
  const Tensor prepared = PrepareContext(context);
  Tensor rows = x;
  for (const auto& layer : layers_) {
    layer->InitializeFromData(rows, prepared);
    rows = layer->Inverse(rows, prepared).value;
  }
}

Tensor Flow::PrepareContext(const Tensor& context) const {
  if (!context.defined()) return context;
  if (context_encoding_) return context_encoding_->Encode(context);
  if (!context_preprocessing_) return context;
  return context_preprocessing_->Inverse(context, Tensor()).value;
}

}  // namespace densityd::flow
