// Upload of a file as a dataset, with progress.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ctl/session.h"
#include "density/v1/datasets.pb.h"

namespace densityd::ctl {

/// Reads the table in `path` and uploads it. `columns` empty: the table's own names. `missing_columns` are those that
/// may hold NaN. `display_name` empty: the path.
absl::StatusOr<density::v1::Dataset> UploadFile(Session& session, const Client& client, const std::string& path,
                                                const std::string& display_name,
                                                const std::vector<std::string>& columns,
                                                const std::vector<std::string>& missing_columns);

}  // namespace densityd::ctl
