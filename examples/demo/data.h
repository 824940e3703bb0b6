// The demo's rows: household electric power (examples/power/SOURCE.md), split, and with anomalies planted.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "densityd/rows.h"

namespace densityd::demo {

/// Rows (N, D) in the units of their columns.
struct Data {
  std::vector<std::string> columns;
  Rows<float> train;
  Rows<float> held_out;  ///< the last tenth; no model sees it before it is scored
};

/// Reads a CSV file of shuffled rows. INVALID_ARGUMENT naming file, line and column.
absl::StatusOr<Data> ReadData(const std::string& path);

/// Mean and standard deviation of each column, (D).
struct Moments {
  std::vector<double> mean;
  std::vector<double> deviation;
};
Moments ColumnMoments(const Rows<float>& rows);

/// Held-out rows of a house that draws almost nothing, in which the water heater is said to run at full power. Every
/// value is common in its own column; together they are impossible, since the heater alone draws more than the whole
/// house. At most `count` rows.
Rows<float> PlantAnomalies(const Data& data, size_t count);

}  // namespace densityd::demo
