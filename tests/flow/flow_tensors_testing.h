// What a built flow registers beside what its spec lists.
#pragma once

#include <vector>

#include "gtest/gtest.h"
#include "server/flow/flow.h"
#include "server/flow/spec.h"

namespace densityd::flow {

/// That the flow has registered just what its spec lists, in that order.
inline void ExpectTensorsOfSpec(const Flow& flow) {
  const auto parameters = flow.named_parameters();
  const auto buffers = flow.named_buffers();
  const std::vector<TensorInfo> listed = FlowTensors(flow.spec());
  ASSERT_EQ(parameters.size() + buffers.size(), listed.size());
  uint64_t count = 0;
  for (size_t i = 0; i < listed.size(); ++i) {
    const auto& tensor = i < parameters.size() ? parameters[i] : buffers[i - parameters.size()];
    EXPECT_EQ(tensor.key(), listed[i].name);
    EXPECT_EQ(listed[i].learnt, i < parameters.size()) << tensor.key();
    EXPECT_EQ(tensor.value().sizes().vec(), listed[i].shape) << tensor.key();
    if (listed[i].learnt) count += tensor.value().numel();
  }
  EXPECT_EQ(count, CountParameters(flow.spec()));
}

}  // namespace densityd::flow
