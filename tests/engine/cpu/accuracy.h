// How far a plan's answers are from the truth, in units of what docs/engine.md promises.
#pragma once

#include <cstddef>
#include <vector>

#include "tests/engine/cpu/reference.h"
#include "tests/engine/cpu/run.h"

namespace densityd::engine::cpu {

/// How far a number is from the truth, in units of the promised bound 1e-4 + 1e-5 |truth|.
double Error(double number, double truth);

/// The error that 99.9 % of the numbers do not exceed; 0 for none.
double TailError(const std::vector<float>& numbers, const std::vector<double>& truth);

/// The larger of the tail errors of values and logs.
double TailError(const Answer& answer, const ReferenceAnswer& truth);

/// What rounding to float32 alone allows, at least 1. Splines with random weights have narrow bins, which magnify the
/// rounding of float32 parameters: there float32 itself may miss the bound, and four times the error of LibTorch's
/// float32 flow is the yardstick. `rows` are those of `truth`.
double AllowedError(const Model& model, Op op, const Rows& rows, const ReferenceAnswer& truth);

}  // namespace densityd::engine::cpu
