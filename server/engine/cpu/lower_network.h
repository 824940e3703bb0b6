// Lowering of conditioners: masks applied, units sorted by degree.
#pragma once

#include <cstdint>
#include <string>

#include "density/v1/flow_spec.pb.h"
#include "server/engine/cpu/lowered.h"
#include "server/engine/cpu/tensor_reader.h"
#include "server/flow/columns.h"

namespace densityd::engine::cpu {

/// RELU where it is not given.
ActivationKind LowerActivation(density::v1::Activation activation);

/// The dense network whose tensors begin with `name`. It reads `columns` columns after the context.
Network LowerNetwork(const density::v1::Conditioner& spec, const std::string& name, const TensorReader& tensors,
                     int64_t columns, int64_t context_features);

/// The masked network (MADE). Its columns and outputs stand in `order`.
Network LowerMaskedNetwork(const density::v1::Conditioner& spec, const std::string& name, const TensorReader& tensors,
                           const flow::Columns& order, int64_t context_features, int64_t parameters);

/// No network: outputs theta (D, P), row after row, whatever the inputs.
Network ConstantNetwork(const Matrix64& theta);

}  // namespace densityd::engine::cpu
