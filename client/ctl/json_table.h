// Tables as JSON, the third format beside CSV and NPY (server/base/table.h).
//
// Read are an array of rows, `[[1, 2], [3, 4]]`; an array of objects, `[{"a": 1, "b": 2}]`; and what is written,
// `{"columns": ["a", "b"], "rows": [[1, 2]]}` with further members.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/base/table.h"

namespace densityd::ctl {

/// Parses a table. INVALID_ARGUMENT beginning with `source` and naming the place, the row or the column.
absl::StatusOr<Table> ParseJsonTable(std::string_view text, std::string_view source);

}  // namespace densityd::ctl
