// A small version to publish.
#pragma once

#include <string>
#include <vector>

#include "density/v1/model_registry.pb.h"
#include "server/registry/model_store.h"
#include "server/registry/tensor.h"

namespace densityd::registry::testing {

/// A manifest whose numbers need all their digits. `mark` makes it recognisable.
density::v1::ModelManifest SampleManifest(double mark = 1);

/// Tensors of every type, an empty one and a scalar among them. `mark` is in their numbers.
std::vector<Tensor> SampleTensors(double mark = 1);

/// A float64 tensor (n).
Tensor F64Tensor(std::string name, const std::vector<double>& values);

/// Opens a store that must open.
ModelStore OpenStore(FileSystem& files, const std::string& root, bool clean_tmp = true);

}  // namespace densityd::registry::testing
