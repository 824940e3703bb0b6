// --preprocess and --encode-context of `densityctl train`.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"

namespace densityd::ctl {

/// The words that a column may be given, for the help.
std::string PreprocessWords();

/// Reads values such as `automatic`, `price=integer,log` and `share=logit,0..100`, one per column; `automatic` alone
/// leaves the choice of every column to the training. INVALID_ARGUMENT with the value and the words that are known.
absl::Status ParsePreprocessing(const std::string& flag, const std::vector<std::string>& values,
                                density::v1::Preprocessing& preprocessing);

}  // namespace densityd::ctl
