// Where numbers stopped being finite.
#pragma once

#include <string>

#include "server/flow/flow.h"
#include "server/training/flat_parameters.h"
#include "server/training/row_tensors.h"

namespace densityd::training {

/// Names, for people, the first layer, or the base, that makes a non-finite number of `batch`; empty where there is
/// none.
std::string FindNonfiniteOutput(flow::Flow& flow, const RowTensors& batch);

/// Names, for people, the first place in the order of computation where `batch` meets a non-finite number: a parameter,
/// the output of a layer, the base's density, or the gradient of a parameter (of the last backward()).
std::string FindNonfinite(flow::Flow& flow, const FlatParameters& parameters, const RowTensors& batch);

}  // namespace densityd::training
