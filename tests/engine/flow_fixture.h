// Flows with random weights, as they would come out of a training.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/flow.h"
#include "server/registry/tensor.h"

namespace densityd::engine {

/// A flow in float64 and how it is stored.
struct StoredFlow {
  density::v1::FlowSpec spec;
  std::shared_ptr<flow::Flow> flow;
  std::vector<registry::Tensor> tensors;
};

/// The preset of D = `features` and C = `context_features`, with fitted standardisation and weights drawn from `seed`.
StoredFlow MakeStoredFlow(const density::v1::Preset& preset, uint32_t features, uint32_t context_features,
                          uint64_t seed);

/// A small preset by name, of images of 4 x 4 pixels where it is for images; or "student_t_base", "mixture_base" or
/// "product_base", for an affine flow on that base.
density::v1::Preset SmallPreset(const std::string& name);

}  // namespace densityd::engine
