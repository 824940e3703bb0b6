// Flows with random weights, and what the tests of server/flow compare.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ATen/CPUGeneratorImpl.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "server/flow/flow.h"
#include "torch/autograd.h"

namespace densityd::flow {

inline density::v1::FlowSpec ParseSpec(const std::string& text) {
  density::v1::FlowSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
  return spec;
}

inline std::shared_ptr<Flow> Build(const density::v1::FlowSpec& spec, uint64_t seed = 1) {
  auto flow = BuildFlow(spec, seed);
  EXPECT_TRUE(flow.ok()) << flow.status();
  return flow.ok() ? *flow : nullptr;
}

/// Standard-normal numbers in float64, the same for a seed.
inline Tensor Normal(torch::IntArrayRef shape, uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return torch::empty(shape, torch::kFloat64).normal_(0, 1, generator);
}

/// Moves every parameter away from its start, so that nothing is the identity.
inline void Randomise(Flow& flow, double deviation, uint64_t seed = 7) {
  const torch::NoGradGuard no_grad;
  for (Tensor& parameter : flow.parameters()) parameter.add_(Normal(parameter.sizes(), seed++), deviation);
}

inline double MaxAbs(const Tensor& difference) { return difference.abs().max().item<double>(); }

/// log|det| of the Jacobian of `map` at each row, by autograd.
inline Tensor AutogradLogAbsDet(const std::function<Tensor(const Tensor&)>& map, const Tensor& at) {
  const Tensor input = at.detach().clone().requires_grad_();
  const Tensor output = map(input);
  std::vector<Tensor> jacobian;
  for (int64_t j = 0; j < output.size(1); ++j) {
    // Rows do not depend on each other, so the gradient of a column's sum has the row-wise gradients.
    jacobian.push_back(torch::autograd::grad({output.select(1, j).sum()}, {input}, {}, /*retain_graph=*/true)[0]);
  }
  return std::get<1>(torch::linalg_slogdet(torch::stack(jacobian, 1)));
}

}  // namespace densityd::flow
