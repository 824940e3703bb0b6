#include "server/training/training_data.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "server/base/errors.h"
#include "server/base/sha256.h"
#include "server/base/strings.h"
#include "server/training/column_check.h"
#include "server/training/dataset_store.h"
#include "server/training/permutation.h"
#include "server/training/table_file.h"
#include "server/training/training_store.h"

namespace densityd::training {
namespace {

using density::v1::Column;
using density::v1::TrainRequest;

absl::StatusOr<std::unique_ptr<RowSource>> OpenDataset(FileSystem& files, const TrainingJob& job,
                                                       const std::string& folder) {
  const std::string root = std::filesystem::path(folder).parent_path().parent_path();
  absl::StatusOr<DatasetStore> store = DatasetStore::Open(files, root, std::numeric_limits<uint64_t>::max());
  if (!store.ok()) return store.status();
  return store->OpenRows(job.request().dataset());
}

// Columns of the data in the order in which they are kept.
std::vector<size_t> OrderOf(const ColumnSelection& columns) {
  std::vector<size_t> order = columns.features;
  order.insert(order.end(), columns.context.begin(), columns.context.end());
  return order;
}

// Walks through the rows, each cut down to its selected columns: take(index of the row, numbers).
absl::Status ForEachRow(const RowSource& rows, const std::vector<size_t>& order,
                        absl::FunctionRef<absl::Status(uint64_t, absl::Span<const double>)> take) {
  std::vector<double> selected(order.size());
  uint64_t index = 0;
  return rows.Read([&](absl::Span<const double> block) {
    for (size_t begin = 0; begin < block.size(); begin += rows.cols()) {
      for (size_t place = 0; place < order.size(); ++place) selected[place] = block[begin + order[place]];
      if (absl::Status status = take(index++, selected); !status.ok()) return status;
    }
    return absl::OkStatus();
  });
}

void HashRow(absl::Span<const double> row, Sha256& hash) {
  hash.Update({reinterpret_cast<const char*>(row.data()), row.size() * sizeof(double)});
}

absl::StatusOr<std::string> DigestOf(const RowSource& rows, const std::vector<size_t>& order) {
  Sha256 hash;
  absl::Status status = ForEachRow(rows, order, [&](uint64_t, absl::Span<const double> row) {
    HashRow(row, hash);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return hash.HexDigest();
}

// Says which cells are no good.
class CellCheck {
 public:
  CellCheck(const SourceData& source, const ColumnSelection& columns, const std::vector<bool>& missing_context)
      : source_(source), columns_(columns), missing_context_(missing_context) {}

  absl::Status operator()(uint64_t index, absl::Span<const double> row) const {
    for (size_t place = 0; place < row.size(); ++place) {
      const double value = row[place];
      // What is beyond float32 would become infinite when it is trained on.
      if (std::abs(value) <= std::numeric_limits<float>::max()) continue;
      if (std::isnan(value) && MayBeMissing(place)) continue;
      const size_t features = columns_.features.size();
      const size_t column = place < features ? columns_.features[place] : columns_.context[place - features];
      return InvalidRow(source_.field, index,
                        absl::StrCat("column ", Quote(columns_.names[column]), " holds ", value,
                                     "; every number must be finite and within float32"));
    }
    return absl::OkStatus();
  }

 private:
  bool MayBeMissing(size_t place) const {
    const size_t context = place - columns_.features.size();
    return place >= columns_.features.size() && context < missing_context_.size() && missing_context_[context];
  }

  const SourceData& source_;
  const ColumnSelection& columns_;
  const std::vector<bool>& missing_context_;
};

absl::Status DataChanged(const SourceData& source, std::string_view how) {
  return FailedPrecondition(source.field, source.description,
                            absl::StrCat("the data (", source.description, ") have changed since the training began: ",
                                         ToAbsl(how), "; start it again, on data that stay as they are"));
}

using ScratchRows = ScratchNumbers<double>;

absl::StatusOr<SelectedRows> ViewOf(std::unique_ptr<ScratchRows> scratch, size_t columns) {
  if (absl::Status status = scratch->Finish(); !status.ok()) return status;
  const std::shared_ptr<const ScratchRows> memory = std::move(scratch);
  return SelectedRows{memory->numbers().size() / columns, memory->numbers(), memory};
}

}  // namespace

absl::StatusOr<SourceData> OpenSource(FileSystem& files, const TrainingJob& job, const std::string& folder) {
  const TrainRequest& request = job.request();
  SourceData source;
  absl::StatusOr<std::unique_ptr<RowSource>> rows;
  if (job.inline_rows()) {
    source.field = "rows";
    source.description = "inline";
    rows = OpenInlineRows(files, folder);
  } else if (request.data_case() == TrainRequest::kDataset) {
    source.field = "dataset";
    source.description = absl::StrCat("dataset:", request.dataset());
    rows = OpenDataset(files, job, folder);
  } else {
    source.field = "file";
    source.description = absl::StrCat("file:", request.file());
    rows = OpenTableFile(job.data_root(), request.file());
  }
  if (!rows.ok()) return rows.status();
  source.rows = *std::move(rows);
  return source;
}

absl::StatusOr<TrainingData> PrepareData(const SourceData& source, const ColumnSelection& columns,
                                         const density::v1::TrainingOptions& options, const ScratchSpace& scratch,
                                         const std::vector<bool>& missing_context,
                                         const std::vector<bool>& dequantised) {
  const uint64_t rows = source.rows->rows();
  absl::StatusOr<SplitSizes> split = ComputeSplit(options, rows);
  if (!split.ok()) return split.status();
  absl::StatusOr<std::unique_ptr<ScratchRows>> train = ScratchRows::Create(scratch);
  if (!train.ok()) return train.status();
  absl::StatusOr<std::unique_ptr<ScratchRows>> validation = ScratchRows::Create(scratch);
  if (!validation.ok()) return validation.status();

  const std::vector<size_t> order = OrderOf(columns);
  const Permutation places(options.seed(), kSplitStream, /*part=*/0, rows);
  const CellCheck check(source, columns, missing_context);
  Sha256 hash;
  uint64_t seen = 0;
  absl::Status status = ForEachRow(*source.rows, order, [&](uint64_t index, absl::Span<const double> row) {
    if (++seen > rows) return DataChanged(source, "there are more rows");
    if (absl::Status bad = check(index, row); !bad.ok()) return bad;
    HashRow(row, hash);
    return (places(index) < split->validation ? *validation : *train)->Append(row);
  });
  if (status.ok() && seen < rows) status = DataChanged(source, "there are fewer rows");
  if (!status.ok()) return status;

  TrainingData data;
  data.scratch = scratch;
  data.features = columns.features.size();
  data.context_features = columns.context.size();
  data.sha256 = hash.HexDigest();
  absl::StatusOr<SelectedRows> train_view = ViewOf(*std::move(train), order.size());
  if (!train_view.ok()) return train_view.status();
  data.train = *std::move(train_view);
  absl::StatusOr<SelectedRows> validation_view = ViewOf(*std::move(validation), order.size());
  if (!validation_view.ok()) return validation_view.status();
  data.validation = *std::move(validation_view);

  std::vector<Column> summaries = Summarize(data.train.values, order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    summaries[i].set_name(columns.names[order[i]]);
    *(i < data.features ? data.schema.add_features() : data.schema.add_context()) = summaries[i];
  }
  status = CheckNotConstant(summaries, data.features, dequantised);
  if (status.ok()) status = CheckNotDuplicated(data.train.values, summaries, data.features, dequantised);
  if (!status.ok()) return status;
  return data;
}

DataWatch::DataWatch(const SourceData& source, const ColumnSelection& columns, std::string sha256, FileStamp since)
    : source_(source), order_(OrderOf(columns)), sha256_(std::move(sha256)), stamp_(since) {}

absl::Status DataWatch::Check() {
  const absl::StatusOr<FileStamp> stamp = source_.rows->Stamp();
  // A disk that does not answer says nothing about the rows, of which the training has its own copy.
  if (absl::IsUnavailable(stamp.status()) || absl::IsResourceExhausted(stamp.status())) return absl::OkStatus();
  if (!stamp.ok()) return DataChanged(source_, ToStd(stamp.status().message()));
  if (*stamp == stamp_) return absl::OkStatus();
  const absl::StatusOr<std::string> digest = DigestOf(*source_.rows, order_);
  if (absl::IsUnavailable(digest.status()) || absl::IsResourceExhausted(digest.status())) return absl::OkStatus();
  if (!digest.ok()) return DataChanged(source_, ToStd(digest.status().message()));
  if (*digest != sha256_) {
    return DataChanged(source_, "their SHA-256 was " + sha256_ + ", and is " + *digest);
  }
  stamp_ = *stamp;  // it was touched, or written anew as it was
  return absl::OkStatus();
}

}  // namespace densityd::training
