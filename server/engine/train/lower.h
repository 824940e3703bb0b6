// From the description of a flow to the program that trains it.
#pragma once

#include "absl/status/statusor.h"
#include "density/v1/flow_spec.pb.h"
#include "server/engine/train/layout.h"
#include "server/engine/train/program.h"

namespace densityd::engine::train {

/// A flow whose training step is compiled.
struct LoweredTraining {
  /// Of the layers after the fixed ones. Its input are the D columns that these leave, and the prepared context.
  Program program;
  Layout layout;
  size_t features = 0;  ///< D
  size_t context_features = 0;
  int fixed_layers = 0;  ///< layers next to the data that learn nothing: rows go through them once, before the training
};

/// Lowers `spec`. UNIMPLEMENTED, naming the layer or field, where its training is not compiled. Precondition: it is
/// checked, fitted and has its defaults.
absl::StatusOr<LoweredTraining> LowerTraining(const density::v1::FlowSpec& spec);

}  // namespace densityd::engine::train
