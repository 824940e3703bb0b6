#include "server/flow/flow.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "server/flow/chain_order.h"
#include "server/flow/continuous.h"
#include "server/flow/row_shape.h"
#include "server/flow/spec.h"
#include "server/flow/triangular.h"

namespace densityd::flow {
namespace {

// All layers, one after the other. `map` takes a layer's index and the rows that it sees: the first columns of those
// that splits have left others behind of.
template <typename Map>
Mapped MapToBase(const density::v1::FlowSpec& spec, const Tensor& x, const Map& map) {
  const std::vector<RowShape> shapes = LayerShapes(spec);
  Mapped z{x, Tensor()};
  std::vector<Tensor> left;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const int64_t width = shapes[i].columns;
    if (const int64_t rest = z.value.size(1) - width; rest > 0) {
      left.push_back(z.value.narrow(1, width, rest));
      z.value = z.value.narrow(1, 0, width);
    }
    const Mapped mapped = map(i, z.value);
    z = {mapped.value, z.log_abs_det.defined() ? z.log_abs_det + mapped.log_abs_det : mapped.log_abs_det};
  }
  if (left.empty()) return z;
  left.push_back(z.value);
  std::reverse(left.begin(), left.end());
  return {torch::cat(left, 1), z.log_abs_det};
}

template <typename Map>
Mapped MapToData(const density::v1::FlowSpec& spec, const Tensor& z, const Map& map) {
  const std::vector<RowShape> shapes = LayerShapes(spec);
  const int64_t last = shapes.back().columns;
  Mapped x{last == z.size(1) ? z : z.narrow(1, 0, last), Tensor()};
  for (size_t i = shapes.size(); i-- > 0;) {
    const int64_t known = x.value.size(1);
    if (const int64_t more = shapes[i].columns - known; more > 0) {
      x.value = torch::cat({x.value, z.narrow(1, known, more)}, 1);
    }
    const Mapped mapped = map(i, x.value);
    x = {mapped.value, x.log_abs_det.defined() ? x.log_abs_det + mapped.log_abs_det : mapped.log_abs_det};
  }
  return x;
}

}  // namespace

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

Tensor Flow::LogProbByColumn(const Tensor& x, const Tensor& context) {
  // There is no other column that it could depend on, whatever the layers.
  if (spec_.features() == 1) return LogProb(x, context).unsqueeze(1);
  const ChainOrder chain = ChainOrderOf(spec_);
  const auto indices = [&](const Columns& columns) {
    return torch::tensor(columns, torch::TensorOptions(x.device()).dtype(torch::kInt64));
  };
  const Columns column_to_place = InversePermutation(chain.places);
  Columns base_order;
  for (const int64_t column : chain.columns) base_order.push_back(column_to_place[column]);
  const Tensor prepared = PrepareContext(context);
  MappedColumns z{x, torch::zeros_like(x)};
  for (const auto& layer : layers_) z = static_cast<TriangularTransform&>(*layer).InverseByColumn(z, prepared);
  const Tensor by_place = base_->LogProbByColumn(z.value, prepared, indices(base_order)) + z.log_slope;
  return by_place.index_select(1, indices(column_to_place));
}

Mapped Flow::LogProbWithError(const Tensor& x, const Tensor& context) {
  const Tensor prepared = PrepareContext(context);
  const auto log_prob = [&](const Mapped& z) { return base_->LogProb(z.value, prepared) + z.log_abs_det; };
  std::vector<Tensor> draws = {log_prob(InverseOfPrepared(x, prepared))};
  for (uint64_t draw = 1; draw < kProbeDraws; ++draw) {
    draws.push_back(log_prob(MapToBase(
        spec_, x, [&](size_t i, const Tensor& rows) { return layers_[i]->InverseWithProbes(rows, prepared, draw); })));
  }
  const Tensor error = torch::stack(draws, 1).std(1, /*unbiased=*/true, /*keepdim=*/true);
  // Where the density is zero it is so in every draw.
  const Tensor is_zero = draws.front() == -std::numeric_limits<double>::infinity();
  return {error.masked_fill(is_zero.unsqueeze(1), 0), draws.front()};
}

Tensor Flow::TrainingLoss(const Tensor& x, const Tensor& context) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& layer = spec_.layers(static_cast<int>(i));
    if (layer.continuous().objective() == density::v1::Continuous::FLOW_MATCHING) return MatchingLoss(i, x, context);
  }
  const Tensor prepared = PrepareContext(context);
  Tensor penalty;
  const Mapped z = MapToBase(spec_, x, [&](size_t i, const Tensor& rows) {
    const Regularised part = layers_[i]->InverseForTraining(rows, prepared);
    if (part.penalty.defined()) penalty = penalty.defined() ? penalty + part.penalty : part.penalty;
    return part.mapped;
  });
  const Tensor surprise = -(base_->LogProb(z.value, prepared) + z.log_abs_det);
  return penalty.defined() ? surprise + penalty : surprise;
}

Tensor Flow::MatchingLoss(size_t index, const Tensor& x, const Tensor& context) {
  // What is trained so is the only learnt layer: there is no split, and every layer sees all columns.
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
  return MapToBase(spec_, x, [&](size_t i, const Tensor& rows) { return layers_[i]->Inverse(rows, prepared); });
}

Mapped Flow::Forward(const Tensor& z, const Tensor& context) {
  const Tensor prepared = PrepareContext(context);
  return MapToData(spec_, z, [&](size_t i, const Tensor& rows) { return layers_[i]->Forward(rows, prepared); });
}

Tensor Flow::BaseFromNoise(const Tensor& noise, const Tensor& context) {
  return base_->FromNoise(noise, PrepareContext(context));
}

Tensor Flow::BaseLogProb(const Tensor& z, const Tensor& context) { return base_->LogProb(z, PrepareContext(context)); }

void Flow::InitializeFromData(const Tensor& x, const Tensor& context) {
  const torch::NoGradGuard no_grad;
  const Tensor prepared = PrepareContext(context);
  MapToBase(spec_, x, [&](size_t i, const Tensor& rows) {
    layers_[i]->InitializeFromData(rows, prepared);
    return layers_[i]->Inverse(rows, prepared);
  });
}

Tensor Flow::PrepareContext(const Tensor& context) const {
  if (!context.defined()) return context;
  if (context_encoding_) return context_encoding_->Encode(context);
  if (!context_preprocessing_) return context;
  return context_preprocessing_->Inverse(context, Tensor()).value;
}

}  // namespace densityd::flow
