#include "examples/demo/data.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/base/table.h"

namespace densityd::demo {
namespace {

constexpr size_t kActivePower = 0;      // kW
constexpr size_t kWaterHeater = 4;      // Wh per minute
constexpr float kLittlePower = 0.35F;   // kW: less than the heater alone draws, 1.05 kW
constexpr float kHeaterAtFull = 17.5F;  // Wh per minute

Rows<float> Part(const Table& table, size_t begin, size_t end) {
  const auto first = table.values.begin();
  Rows<float> part = {.rows = end - begin, .cols = table.cols};
  part.values.assign(first + static_cast<ptrdiff_t>(begin * table.cols),
                     first + static_cast<ptrdiff_t>(end * table.cols));
  return part;
}

}  // namespace

absl::StatusOr<Data> ReadData(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, " cannot be read"));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  absl::StatusOr<Table> table = ParseCsv(text, path);
  if (!table.ok()) return table.status();
  if (table->cols <= kWaterHeater || table->columns.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not the demo's data"));
  }
  const size_t train_rows = table->rows - table->rows / 10;
  return Data{.columns = table->columns,
              .train = Part(*table, 0, train_rows),
              .held_out = Part(*table, train_rows, table->rows)};
}

Moments ColumnMoments(const Rows<float>& rows) {
  Moments moments = {.mean = std::vector<double>(rows.cols), .deviation = std::vector<double>(rows.cols)};
  const auto count = static_cast<double>(rows.rows);
  for (size_t i = 0; i < rows.values.size(); ++i) moments.mean[i % rows.cols] += rows.values[i] / count;
  for (size_t i = 0; i < rows.values.size(); ++i) {
    const double distance = rows.values[i] - moments.mean[i % rows.cols];
    moments.deviation[i % rows.cols] += distance * distance / count;
  }
  for (double& deviation : moments.deviation) deviation = std::sqrt(deviation);
  return moments;
}

Rows<float> PlantAnomalies(const Data& data, size_t count) {
  Rows<float> planted = {.rows = 0, .cols = data.held_out.cols};
  for (size_t i = 0; i < data.held_out.rows && planted.rows < count; ++i) {
    const std::span<const float> row = data.held_out[i];
    if (row[kActivePower] >= kLittlePower) continue;
    planted.values.insert(planted.values.end(), row.begin(), row.end());
    planted.values[planted.rows * planted.cols + kWaterHeater] = kHeaterAtFull;
    ++planted.rows;
  }
  return planted;
}

}  // namespace densityd::demo
