// Checks of a FlowSpec, its defaults, and its presets. Free of LibTorch, so that a request is refused at once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// Most numbers that the learnt parameters of one flow may have.
inline constexpr uint64_t kMaxParameters = uint64_t{1} << 30;

/// INVALID_ARGUMENT with the path of the first field that is wrong, prefixed by `field`
/// ("spec.layers[3].coupling.mask").
absl::Status CheckFlowSpec(const density::v1::FlowSpec& spec, std::string_view field = "spec");

/// INVALID_ARGUMENT with the path of the first Standardize whose mean or scale is empty, as it is before a training.
absl::Status CheckFitted(const density::v1::FlowSpec& spec, std::string_view field = "spec");

/// The spec with every default written out. Precondition: CheckFlowSpec(spec) is OK.
density::v1::FlowSpec WithDefaults(density::v1::FlowSpec spec);

/// Expands a preset for D = `features` and C = `context_features`. INVALID_ARGUMENT naming "preset.<option>"; an
/// unknown name lists the known ones.
absl::StatusOr<density::v1::FlowSpec> ExpandPreset(const density::v1::Preset& preset, uint32_t features,
                                                   uint32_t context_features);

/// Number of parameters that `univariate` has per column, P. Precondition: it has its defaults.
int64_t UnivariateParameters(const density::v1::Univariate& univariate);

/// Number of standard-normal numbers that one row of z is made from, M: D for a normal base, more for one whose samples
/// need more. Precondition: `base` is checked.
int64_t NoiseColumns(const density::v1::BaseDistribution& base, int64_t features);

/// Estimates of log p that its standard error comes from.
inline constexpr uint64_t kProbeDraws = 8;

/// Whether log|det| of `layer`, for rows of `columns` columns, is an estimate with random probes. Precondition: it is
/// checked and has its defaults.
bool IsEstimated(const density::v1::Layer& layer, int64_t columns);

/// Whether log p is such an estimate. Precondition: `spec` is checked and has its defaults.
bool EstimatesLogProb(const density::v1::FlowSpec& spec);

/// A tensor of a built flow, as it is named in stored models (see flow.h).
struct TensorInfo {
  std::string name;
  std::vector<int64_t> shape;
  bool learnt = true;  ///< false: state that is stored but not trained, such as ActNorm's flag
};

/// The tensors that BuildFlow(spec) registers and a model stores: no more, no fewer. Parameters first, in
/// the order of the layers, then other state. Precondition: CheckFlowSpec(spec) is OK.
std::vector<TensorInfo> FlowTensors(const density::v1::FlowSpec& spec);

/// Number of learnt parameters. Precondition: CheckFlowSpec(spec) is OK.
uint64_t CountParameters(const density::v1::FlowSpec& spec);

}  // namespace densityd::flow
