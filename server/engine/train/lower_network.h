// Networks of conditioners as steps.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/flow_spec.pb.h"
#include "server/engine/train/builder.h"

namespace densityd::engine::train {

/// A conditioner's place in a layer.
struct NetworkPlace {
  std::string name;  ///< of its tensors
  Columns input;
  Side inputs;
  Side outputs;
  std::function<Side(int64_t width)> hidden;  ///< a layer of hidden units
};

/// Units 0 … width - 1 without a mask.
Side DenseSide(int64_t width);

/// Adds the steps of `spec`; the columns of its outputs, in the order of `place.outputs`. UNIMPLEMENTED, naming the
/// field.
absl::StatusOr<Columns> AddNetwork(const density::v1::Conditioner& spec, const NetworkPlace& place, Builder& builder);

}  // namespace densityd::engine::train
