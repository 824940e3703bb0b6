// Flows of every kind with random weights, for tests and benchmarks of compiled plans.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "density/v1/flow_spec.pb.h"
#include "server/registry/tensor.h"

namespace densityd::engine::cpu {

/// A spec and its weights.
struct Model {
  std::string name;
  density::v1::FlowSpec spec;
  std::vector<registry::Tensor> tensors;
};

/// The name alone, in the messages of GoogleTest.
inline void PrintTo(const Model& model, std::ostream* out) { *out << model.name; }

/// Weights of a size that training gives: hidden units keep their scale from layer to layer, scales and shifts lie
/// around exp(+-0.3) and +-0.3. None is zero, and no map is the identity. Empty Standardize layers of `spec` are
/// filled.
Model RandomModel(std::string name, density::v1::FlowSpec spec, uint64_t seed);

/// A preset with `hidden` units in both hidden layers.
density::v1::FlowSpec PresetSpec(const std::string& preset, uint32_t features, uint32_t context_features,
                                 uint32_t transforms, uint32_t hidden);

/// At least one model for each layer, conditioner, activation and option.
std::vector<Model> AllModels();

/// Standard normal rows (rows, cols).
std::vector<float> NormalRows(size_t rows, size_t cols, uint64_t seed);

/// Rows that `model` may have been trained on: standard normal, scaled as its standardisation expects, or within
/// (0, 1) where its first layer is a bijection onto a part of the line.
std::vector<float> DataRows(const Model& model, size_t rows, uint64_t seed);

/// Context (rows, C) of the scale that the model expects.
std::vector<float> ContextRows(const Model& model, size_t rows, uint64_t seed);

}  // namespace densityd::engine::cpu
