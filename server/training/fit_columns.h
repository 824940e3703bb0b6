// Preprocessing of a training's columns: fitted before the loop begins.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"
#include "server/training/training_data.h"

namespace densityd::training {

/// Fills in what is empty in the preprocessing layer of `spec` and in its context encoding, from the train split alone
/// (categories: from all rows); nothing where there is none. INVALID_ARGUMENT with the path of the column: it cannot be
/// scaled, or a row of either split lies outside of a support that was asked for. Precondition:
/// flow::CheckFlowSpec(spec) is OK.
absl::Status FitColumns(const TrainingData& data, density::v1::FlowSpec& spec);

/// INVALID_ARGUMENT naming a column and a number of it, of either split, at which the density of `fitted` is zero
/// whatever is learnt: an angle beyond a circle, a row outside of a box. Precondition: what `fitted` says of the data
/// is fitted.
absl::Status CheckWithinDensity(const TrainingData& data, const density::v1::FlowSpec& fitted);

/// Whether each column of the context may be missing, (C); empty where the context is not encoded.
std::vector<bool> MissingContext(const density::v1::FlowSpec& spec);

/// Whether each modelled column is given noise, as its entry says: (D); empty where columns are not described.
std::vector<bool> DequantisedColumns(const density::v1::FlowSpec& spec);

/// What AUTOMATIC chose and why, for people: one line per column, with its name.
std::vector<std::string> DescribeChoices(const density::v1::FlowSpec& spec);

}  // namespace densityd::training
