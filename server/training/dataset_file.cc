#include "server/training/dataset_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/sha256.h"

namespace densityd::training {
namespace {

constexpr std::string_view kMagic = "DNSROWS1";
constexpr size_t kHeaderBytes = 16;
constexpr size_t kChunkPrefixBytes = 8;
constexpr size_t kChecksumBytes = 64;
constexpr size_t kMaxChunkBytes = size_t{4} << 20;

void AppendLittleEndian(std::string& bytes, uint64_t number, size_t width) {
  for (size_t i = 0; i < width; ++i) bytes.push_back(static_cast<char>((number >> (8 * i)) & 0xff));
}

uint64_t ReadLittleEndian(std::string_view bytes, size_t begin, size_t width) {
  uint64_t number = 0;
  for (size_t i = 0; i < width; ++i) number |= uint64_t{static_cast<uint8_t>(bytes[begin + i])} << (8 * i);
  return number;
}

std::string FileHeader(size_t cols) {
  std::string header(kMagic);
  AppendLittleEndian(header, cols, 8);
  return header;
}

std::string ChunkPrefix(uint32_t type, uint32_t rows) {
  std::string prefix;
  AppendLittleEndian(prefix, type, 4);
  AppendLittleEndian(prefix, rows, 4);
  return prefix;
}

std::string ChunkChecksum(std::string_view header, uint64_t index, std::string_view prefix, std::string_view rows) {
  std::string begin(header);
  AppendLittleEndian(begin, index, 8);
  begin += prefix;
  Sha256 hash;
  hash.Update(begin);
  hash.Update(rows);
  return hash.HexDigest();
}

template <typename Number>
absl::Status CheckFiniteAs(const ConstMatrix& rows, std::string_view field, uint64_t first_row,
                           const std::vector<bool>& may_be_missing) {
  const char* bytes = static_cast<const char*>(rows.data);
  for (size_t i = 0; i < rows.rows * rows.cols; ++i) {
    Number number;
    std::memcpy(&number, bytes + i * sizeof(Number), sizeof(Number));
    if (std::isfinite(number)) continue;
    const size_t column = i % rows.cols;
    if (std::isnan(number) && column < may_be_missing.size() && may_be_missing[column]) continue;
    return InvalidRow(field, first_row + i / rows.cols,
                      absl::StrCat("column ", column, " holds ", number, "; every number must be finite",
                                   std::isnan(number) ? ", but NaN where a context column may be missing" : ""));
  }
  return absl::OkStatus();
}

// One chunk's rows as float64.
template <typename Number>
void ToDoubles(std::string_view bytes, std::vector<double>& values) {
  values.resize(bytes.size() / sizeof(Number));
  for (size_t i = 0; i < values.size(); ++i) {
    Number number;
    std::memcpy(&number, bytes.data() + i * sizeof(Number), sizeof(Number));
    values[i] = static_cast<double>(number);
  }
}

// What the bytes before a chunk's rows say.
struct ChunkHead {
  std::string prefix;
  std::string checksum;
  uint64_t type = 0;  // bytes of a number
  uint64_t rows = 0;

  bool is_end() const { return type == 0; }
};

// Walks through the chunks of a file, one in memory at a time.
class Walk {
 public:
  Walk(FileSystem& files, const std::string& path) : files_(files), path_(path) {}

  absl::Status Begin() {
    absl::StatusOr<uint64_t> size = files_.Size(path_);
    if (!size.ok()) return size.status();
    size_ = *size;
    absl::StatusOr<std::string> header = Take(std::min<uint64_t>(size_, kHeaderBytes), "header");
    if (!header.ok()) return header.status();
    if (header->size() < kHeaderBytes || std::string_view(*header).substr(0, kMagic.size()) != kMagic) {
      return DataLoss(path_, "header", "is no densityd rows file");
    }
    cols_ = ReadLittleEndian(*header, kMagic.size(), 8);
    if (cols_ == 0 || cols_ > kMaxDatasetColumns) {
      return DataLoss(path_, "header", absl::StrCat("claims ", cols_, " columns"));
    }
    header_ = *std::move(header);
    return absl::OkStatus();
  }

  uint64_t cols() const { return cols_; }

  absl::StatusOr<ChunkHead> Next() {
    const absl::StatusOr<std::string> begin = Take(kChunkPrefixBytes + kChecksumBytes, section());
    if (!begin.ok()) return begin.status();
    ChunkHead head{begin->substr(0, kChunkPrefixBytes), begin->substr(kChunkPrefixBytes),
                   ReadLittleEndian(*begin, 0, 4), ReadLittleEndian(*begin, 4, 4)};
    const bool is_end = head.type == 0 && head.rows == 0;
    if (!is_end && ((head.type != 4 && head.type != 8) || head.rows == 0)) {
      return DataLoss(path_, section(), "has a damaged header");
    }
    if (is_end) {
      if (absl::Status status = Verify(head, ""); !status.ok()) return status;
      if (position_ != size_) return DataLoss(path_, "end", "is followed by other bytes");
    }
    return head;
  }

  // Goes on behind the rows of `head`.
  absl::Status Skip(const ChunkHead& head) {
    // At most 2^32 * 2^20 * 2^3: cannot overflow.
    const uint64_t bytes = head.rows * cols_ * head.type;
    if (size_ - position_ < bytes) return DataLoss(path_, section(), "is cut short");
    position_ += bytes;
    ++index_;
    return absl::OkStatus();
  }

  absl::Status Rows(const ChunkHead& head, std::vector<double>& values) {
    const absl::StatusOr<std::string> payload = Take(head.rows * cols_ * head.type, section());
    if (!payload.ok()) return payload.status();
    if (absl::Status status = Verify(head, *payload); !status.ok()) return status;
    if (head.type == 4) ToDoubles<float>(*payload, values);
    if (head.type == 8) ToDoubles<double>(*payload, values);
    ++index_;
    return absl::OkStatus();
  }

 private:
  std::string section() const { return absl::StrCat("chunk ", index_); }

  absl::Status Verify(const ChunkHead& head, std::string_view payload) const {
    if (head.checksum == ChunkChecksum(header_, index_, head.prefix, payload)) return absl::OkStatus();
    return DataLoss(path_, section(), "fails its checksum");
  }

  // The next `count` bytes. DATA_LOSS where the file has fewer.
  absl::StatusOr<std::string> Take(uint64_t count, const std::string& section) {
    if (size_ - position_ < count) return DataLoss(path_, section, "is cut short");
    absl::StatusOr<std::string> bytes = files_.ReadRange(path_, position_, count);
    if (!bytes.ok()) return bytes.status();
    if (bytes->size() != count) return DataLoss(path_, section, "is cut short");
    position_ += count;
    return bytes;
  }

  FileSystem& files_;
  const std::string& path_;
  uint64_t size_ = 0;
  uint64_t position_ = 0;
  uint64_t cols_ = 0;
  uint64_t index_ = 0;
  std::string header_;
};

class DatasetFile final : public RowSource {
 public:
  DatasetFile(FileSystem& files, std::string path, std::vector<std::string> columns)
      : files_(files), path_(std::move(path)), columns_(std::move(columns)) {}

  absl::Status Measure() {
    Walk walk(files_, path_);
    if (absl::Status status = walk.Begin(); !status.ok()) return status;
    cols_ = walk.cols();
    while (true) {
      const absl::StatusOr<ChunkHead> head = walk.Next();
      if (!head.ok()) return head.status();
      if (head->is_end()) return absl::OkStatus();
      rows_ += head->rows;
      if (absl::Status status = walk.Skip(*head); !status.ok()) return status;
    }
  }

  uint64_t rows() const override { return rows_; }
  size_t cols() const override { return cols_; }
  const std::vector<std::string>& columns() const override { return columns_; }

  absl::Status Read(RowSink take) const override {
    Walk walk(files_, path_);
    if (absl::Status status = walk.Begin(); !status.ok()) return status;
    if (walk.cols() != cols_) return DataLoss(path_, "header", "has other columns than when it was opened");
    std::vector<double> values;
    while (true) {
      const absl::StatusOr<ChunkHead> head = walk.Next();
      if (!head.ok()) return head.status();
      if (head->is_end()) return absl::OkStatus();
      if (absl::Status status = walk.Rows(*head, values); !status.ok()) return status;
      if (absl::Status status = take(values); !status.ok()) return status;
    }
  }

  absl::StatusOr<FileStamp> Stamp() const override { return files_.Stamp(path_); }

 private:
  FileSystem& files_;
  const std::string path_;
  const std::vector<std::string> columns_;
  uint64_t rows_ = 0;
  uint64_t cols_ = 0;
};

}  // namespace

absl::Status CheckFinite(const ConstMatrix& rows, std::string_view field, uint64_t first_row,
                         const std::vector<bool>& may_be_missing) {
  return rows.type == NumberType::kFloat32 ? CheckFiniteAs<float>(rows, field, first_row, may_be_missing)
                                           : CheckFiniteAs<double>(rows, field, first_row, may_be_missing);
}

absl::StatusOr<std::unique_ptr<DatasetFileWriter>> DatasetFileWriter::Create(FileSystem& files, const std::string& path,
                                                                             size_t cols, uint64_t max_bytes) {
  absl::StatusOr<std::unique_ptr<WritableFile>> file = files.Create(path);
  if (!file.ok()) return file.status();
  std::unique_ptr<DatasetFileWriter> writer(new DatasetFileWriter(*std::move(file), cols, max_bytes));
  if (absl::Status status = writer->Write(FileHeader(cols)); !status.ok()) return status;
  return writer;
}

absl::Status DatasetFileWriter::Append(const ConstMatrix& rows, std::string_view field,
                                       const std::vector<bool>& may_be_missing) {
  if (rows.cols != cols_) {
    return InvalidArgument(field, absl::StrCat("has ", rows.cols, " columns; those before it have ", cols_));
  }
  if (absl::Status status = CheckFinite(rows, field, rows_, may_be_missing); !status.ok()) return status;
  const size_t row_bytes = cols_ * NumberBytes(rows.type);
  const size_t chunk_rows = std::max<size_t>(1, kMaxChunkBytes / row_bytes);
  for (size_t begin = 0; begin < rows.rows; begin += chunk_rows) {
    const size_t count = std::min(chunk_rows, rows.rows - begin);
    const std::string_view bytes(static_cast<const char*>(rows.data) + begin * row_bytes, count * row_bytes);
    if (absl::Status status = WriteChunk(rows.type, bytes, static_cast<uint32_t>(count)); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status DatasetFileWriter::Finish() {
  const std::string prefix = ChunkPrefix(0, 0);
  if (absl::Status status = Write(prefix + ChunkChecksum(FileHeader(cols_), chunks_, prefix, "")); !status.ok()) {
    return status;
  }
  if (absl::Status status = file_->Sync(); !status.ok()) return status;
  return file_->Close();
}

absl::Status DatasetFileWriter::Write(std::string_view bytes) {
  if (bytes.size() > max_bytes_ - bytes_) {
    return ResourceExhausted("dataset", absl::StrCat("the rows take more than the limit of ", max_bytes_,
                                                     " bytes per dataset (--max-dataset-bytes)"));
  }
  if (absl::Status status = file_->Append(bytes); !status.ok()) return status;
  bytes_ += bytes.size();
  return absl::OkStatus();
}

absl::Status DatasetFileWriter::WriteChunk(NumberType type, std::string_view rows, uint32_t row_count) {
  const std::string prefix = ChunkPrefix(static_cast<uint32_t>(NumberBytes(type)), row_count);
  const std::string checksum = ChunkChecksum(FileHeader(cols_), chunks_, prefix, rows);
  if (absl::Status status = Write(prefix + checksum); !status.ok()) return status;
  if (absl::Status status = Write(rows); !status.ok()) return status;
  rows_ += row_count;
  ++chunks_;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<RowSource>> OpenDatasetFile(FileSystem& files, const std::string& path,
                                                           std::vector<std::string> columns) {
  auto file = std::make_unique<DatasetFile>(files, path, std::move(columns));
  if (absl::Status status = file->Measure(); !status.ok()) return status;
  return file;
}

}  // namespace densityd::training
