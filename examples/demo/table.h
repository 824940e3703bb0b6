// The demo's table of likelihoods.
#pragma once

#include <vector>

#include "examples/demo/query.h"

namespace densityd::demo {

/// Prints one line per model: held-out log-likelihood (mean +- 2 standard errors, nats per row) in the data's units and
/// of the standardised columns, as papers state it, and what it is above the first model's. `log_deviation` is the sum
/// of log standard deviations of the columns: the difference between the two units.
void PrintLikelihoods(const std::vector<Answers>& models, double log_deviation);

}  // namespace densityd::demo
