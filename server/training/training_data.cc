#include "server/training/training_data.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "server/base/beneath.h"
#include "server/base/errors.h"
#include "server/base/sha256.h"
#include "server/base/strings.h"
#include "server/training/column_check.h"
#include "server/training/dataset_store.h"
#include "server/training/permutation.h"
#include "server/training/training_store.h"

namespace densityd::training {
namespace {

using density::v1::Column;
using density::v1::TrainRequest;

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 36;

absl::StatusOr<Table> LoadFile(const TrainingJob& job) {
  const std::string& path = job.request().file();
  absl::StatusOr<std::string> bytes = ReadBeneath(job.data_root(), "file", path, kMaxFileBytes);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<Table> table = ParseTable(*bytes, path);
  if (!table.ok()) return Annotate(table.status(), "file");
  return table;
}

absl::StatusOr<Table> LoadDataset(FileSystem& files, const TrainingJob& job, const std::string& folder) {
  const std::string root = std::filesystem::path(folder).parent_path().parent_path();
  absl::StatusOr<DatasetStore> store = DatasetStore::Open(files, root, std::numeric_limits<uint64_t>::max());
  if (!store.ok()) return store.status();
  return store->Read(job.request().dataset());
}

absl::Status CheckCells(const SourceData& source, const ColumnSelection& columns, const std::vector<size_t>& order,
                        const std::vector<bool>& missing_context) {
  const Table& table = source.table;
  const auto may_be_missing = [&](size_t place) {
    const size_t context = place - columns.features.size();
    return place >= columns.features.size() && context < missing_context.size() && missing_context[context];
  };
  for (size_t row = 0; row < table.rows; ++row) {
    for (size_t place = 0; place < order.size(); ++place) {
      const size_t column = order[place];
      const double value = table.values[row * table.cols + column];
      if (std::isnan(value) && may_be_missing(place)) continue;
      // What is beyond float32 would become infinite when it is trained on.
      if (std::abs(value) <= std::numeric_limits<float>::max()) continue;
      return InvalidRow(source.field, row,
                        absl::StrCat("column ", Quote(columns.names[column]), " holds ", value,
                                     "; every number must be finite and within float32"));
    }
  }
  return absl::OkStatus();
}

SelectedRows Select(const Table& table, absl::Span<const int64_t> rows, const std::vector<size_t>& order) {
  SelectedRows selected;
  selected.rows = rows.size();
  selected.values.reserve(rows.size() * order.size());
  for (const int64_t row : rows) {
    for (const size_t column : order) selected.values.push_back(table.values[row * table.cols + column]);
  }
  return selected;
}

std::string HashRows(const Table& table, const std::vector<size_t>& order) {
  Sha256 hash;
  std::vector<double> row(order.size());
  for (size_t i = 0; i < table.rows; ++i) {
    for (size_t j = 0; j < order.size(); ++j) row[j] = table.values[i * table.cols + order[j]];
    hash.Update({reinterpret_cast<const char*>(row.data()), row.size() * sizeof(double)});
  }
  return hash.HexDigest();
}

}  // namespace

absl::StatusOr<SourceData> LoadSource(FileSystem& files, const TrainingJob& job, const std::string& folder) {
  const TrainRequest& request = job.request();
  SourceData source;
  absl::StatusOr<Table> table;
  if (job.inline_rows()) {
    source.field = "rows";
    source.description = "inline";
    table = ReadInlineRows(files, folder);
  } else if (request.data_case() == TrainRequest::kDataset) {
    source.field = "dataset";
    source.description = absl::StrCat("dataset:", request.dataset());
    table = LoadDataset(files, job, folder);
  } else {
    source.field = "file";
    source.description = absl::StrCat("file:", request.file());
    table = LoadFile(job);
  }
  if (!table.ok()) return table.status();
  source.table = *std::move(table);
  return source;
}

absl::StatusOr<TrainingData> PrepareData(const SourceData& source, const ColumnSelection& columns,
                                         const density::v1::TrainingOptions& options,
                                         const std::vector<bool>& missing_context,
                                         const std::vector<bool>& dequantised) {
  absl::StatusOr<SplitSizes> split = ComputeSplit(options, source.table.rows);
  if (!split.ok()) return split.status();
  std::vector<size_t> order = columns.features;
  order.insert(order.end(), columns.context.begin(), columns.context.end());
  if (absl::Status status = CheckCells(source, columns, order, missing_context); !status.ok()) return status;

  const std::vector<int64_t> rows = SeededPermutation(options.seed(), kSplitStream, source.table.rows);
  TrainingData data;
  data.features = columns.features.size();
  data.context_features = columns.context.size();
  data.validation = Select(source.table, absl::MakeConstSpan(rows).first(split->validation), order);
  data.train = Select(source.table, absl::MakeConstSpan(rows).subspan(split->validation), order);
  data.sha256 = HashRows(source.table, order);

  std::vector<Column> summaries;
  for (size_t i = 0; i < order.size(); ++i) {
    summaries.push_back(Summarize(data.train.values, order.size(), i));
    summaries.back().set_name(columns.names[order[i]]);
    *(i < data.features ? data.schema.add_features() : data.schema.add_context()) = summaries.back();
  }
  absl::Status status = CheckNotConstant(summaries, data.features, dequantised);
  if (status.ok()) status = CheckNotDuplicated(data.train.values, summaries, data.features, dequantised);
  if (!status.ok()) return status;
  return data;
}

}  // namespace densityd::training
