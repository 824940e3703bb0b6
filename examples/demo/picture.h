// Files for examples/demo/picture.gp, which draws them with gnuplot.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "examples/demo/query.h"

namespace densityd::demo {

/// Writes into `folder`: data.tsv, samples.tsv and planted.tsv (rows of columns), log_prob.tsv (one line per held-out
/// row, one column per model) and anomalies.tsv (one line per planted row, one column per model). `drawn` is the model
/// whose samples are shown.
absl::Status WritePictureFiles(const std::string& folder, const Data& data, const Rows<float>& planted,
                               const std::vector<Answers>& models, const Answers& drawn);

}  // namespace densityd::demo
