// Where Explain looks for the values of a column.
#pragma once

#include <vector>

#include "density/v1/model_registry.pb.h"
#include "server/explain/conditional.h"

namespace densityd::rpc {

/// One range per column (D): what the training data had, within what the flow can give. Empty where the model was
/// stored without, or with a column that never changes.
std::vector<explain::ColumnRange> ColumnRanges(const density::v1::ModelManifest& manifest);

}  // namespace densityd::rpc
