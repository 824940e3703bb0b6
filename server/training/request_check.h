// What can be known about a Train request before its data are read as a whole.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/flow_spec.pb.h"
#include "density/v1/training.pb.h"
#include "server/base/matrix.h"
#include "server/training/columns.h"
#include "server/training/dataset_store.h"

namespace densityd::training {

/// The flow that `request` asks for, for data with these columns: the preset expanded, or the spec with its counts of
/// columns filled in, checked and with every default written out. INVALID_ARGUMENT with the path of the field.
absl::StatusOr<density::v1::FlowSpec> ResolveSpec(const density::v1::TrainRequest& request,
                                                  const ColumnSelection& columns);

/// The limits that a training gets: those that it asks for, within the server's `most`. A limit of 0 is none.
/// INVALID_ARGUMENT for "limits.<name>".
absl::StatusOr<density::v1::TrainingLimits> ResolveLimits(const density::v1::TrainingLimits& asked,
                                                          const density::v1::TrainingLimits& most);

/// Checks a request: names, flow, options, columns, that the data exist and have enough rows. Columns and rows of a
/// file are left to the training process, except that the file must exist below `data_root` (empty: no files are
/// taken). INVALID_ARGUMENT with the field, NOT_FOUND (dataset, file), FAILED_PRECONDITION (no data root).
/// Returns a view of the rows inside the request; empty where it names its data.
absl::StatusOr<ConstMatrix> CheckTrainRequest(const density::v1::TrainRequest& request, const DatasetStore& datasets,
                                              const std::string& data_root);

}  // namespace densityd::training
