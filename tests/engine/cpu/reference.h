// The float64 LibTorch flow behind an interface without LibTorch.
#pragma once

#include <vector>

#include "server/engine/plan.h"
#include "tests/engine/cpu/models.h"

namespace densityd::engine::cpu {

/// What a reference answers: value (rows, D), empty for kLogProb, and log (rows).
struct ReferenceAnswer {
  std::vector<double> value;
  std::vector<double> log;
};

/// `op` of `model` in float64 on input (rows, D) and context (rows, C). kSample: `input` is the noise.
ReferenceAnswer RunReference(const Model& model, Op op, const std::vector<float>& input,
                             const std::vector<float>& context, size_t rows);

}  // namespace densityd::engine::cpu
