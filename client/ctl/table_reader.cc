#include "client/ctl/table_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/ctl/json_table.h"
#include "server/base/errors.h"

namespace densityd::ctl {
namespace {

constexpr size_t kBlockBytes = 1 << 20;
constexpr size_t kBlockNumbers = kBlockBytes / sizeof(double);

}  // namespace

TableReader::TableReader(std::string path, std::istream& in)
    : path_(std::move(path)),
      source_(path_ == "-" ? "standard input" : path_),
      in_(path_ == "-" ? in : file_),
      csv_(source_) {}

absl::StatusOr<std::unique_ptr<TableReader>> TableReader::Open(const std::string& path, Session& session) {
  auto reader = std::unique_ptr<TableReader>(new TableReader(path, session.streams.in));
  if (path != "-") {
    errno = 0;
    reader->file_.open(path, std::ios::binary);
    // Opening a folder succeeds; reading it does not.
    if (!reader->file_ || (reader->file_.peek(), reader->file_.bad())) {
      const int error = errno;
      const std::string message = absl::StrCat("cannot read ", path, ": ", std::strerror(error));
      return error == ENOENT ? absl::NotFoundError(message) : absl::InvalidArgumentError(message);
    }
    reader->file_.clear();
    std::error_code ignored;
    if (std::filesystem::is_regular_file(path, ignored))
      reader->file_bytes_ = std::filesystem::file_size(path, ignored);
  }
  if (absl::Status status = reader->Sniff(); !status.ok()) return status;
  return reader;
}

std::optional<double> TableReader::share_read() const {
  if (file_bytes_ == 0) return std::nullopt;
  return std::min(1.0, static_cast<double>(bytes_read_ - buffer_.size()) / static_cast<double>(file_bytes_));
}

absl::Status TableReader::Fill(size_t bytes) {
  while (!ended_ && buffer_.size() < bytes) {
    const size_t old_size = buffer_.size();
    buffer_.resize(std::max(bytes, old_size + kBlockBytes));
    in_.read(buffer_.data() + old_size, static_cast<std::streamsize>(buffer_.size() - old_size));
    const auto got = static_cast<size_t>(in_.gcount());
    buffer_.resize(old_size + got);
    bytes_read_ += got;
    if (in_.bad()) return absl::InvalidArgumentError(absl::StrCat("cannot read ", source_));
    ended_ = !in_;
  }
  return absl::OkStatus();
}

absl::Status TableReader::Sniff() {
  if (absl::Status status = Fill(kNpyHeaderBytes); !status.ok()) return status;
  const absl::string_view text = absl::StripLeadingAsciiWhitespace(buffer_);
  if (absl::StartsWith(buffer_, "\x93")) {
    format_ = Format::kNpy;
    absl::StatusOr<NpyLayout> layout = ParseNpyHeader(buffer_, source_);
    if (!layout.ok()) return layout.status();
    npy_ = *std::move(layout);
    npy_rows_left_ = npy_.rows;
    buffer_.erase(0, npy_.data_offset);
  } else if (absl::StartsWith(text, "[") || absl::StartsWith(text, "{")) {
    format_ = Format::kJson;
  } else {
    format_ = Format::kCsv;
  }
  return absl::OkStatus();
}

absl::StatusOr<Table> TableReader::Next() {
  switch (format_) {
    case Format::kNpy:
      return NextNpy();
    case Format::kJson:
      return NextJson();
    default:
      return NextCsv();
  }
}

absl::StatusOr<Table> TableReader::NextCsv() {
  while (!finished_) {
    if (absl::Status status = Fill(kBlockBytes); !status.ok()) return status;
    // Whole lines, of which the first piece needs two.
    size_t end = buffer_.rfind('\n');
    while (!ended_ && std::count(buffer_.begin(), buffer_.end(), '\n') < 2) {
      if (absl::Status status = Fill(2 * buffer_.size() + 1); !status.ok()) return status;
      end = buffer_.rfind('\n');
    }
    end = ended_ ? buffer_.size() : end + 1;
    finished_ = ended_;
    absl::StatusOr<Table> table = csv_.Parse(std::string_view(buffer_).substr(0, end));
    if (!table.ok()) return table;
    buffer_.erase(0, end);
    if (finished_) {
      if (absl::Status status = csv_.Finish(); !status.ok()) return status;
    }
    if (table->rows > 0) return table;
  }
  return Table();
}

absl::StatusOr<Table> TableReader::NextNpy() {
  Table table;
  if (npy_rows_left_ == 0) {
    if (absl::Status status = Fill(1); !status.ok()) return status;
    if (!buffer_.empty()) return InvalidArgument(source_, "has bytes after its end");
    return table;
  }
  const uint64_t rows = std::min(npy_rows_left_, std::max<uint64_t>(1, kBlockNumbers / npy_.cols));
  const uint64_t bytes = rows * npy_.cols * npy_.number_bytes;
  if (absl::Status status = Fill(bytes); !status.ok()) return status;
  if (buffer_.size() < bytes) {
    return InvalidArgument(source_, absl::StrCat("is cut short: shape (", npy_.rows, ", ", npy_.cols, ") needs ",
                                                 npy_.rows * npy_.cols * npy_.number_bytes, " bytes of data"));
  }
  table.rows = rows;
  table.cols = npy_.cols;
  AppendNpyNumbers(npy_, std::string_view(buffer_).substr(0, bytes), table.values);
  buffer_.erase(0, bytes);
  npy_rows_left_ -= rows;
  return table;
}

absl::StatusOr<Table> TableReader::NextJson() {
  if (std::exchange(finished_, true)) return Table();
  while (!ended_) {
    if (absl::Status status = Fill(2 * buffer_.size() + kBlockBytes); !status.ok()) return status;
  }
  absl::StatusOr<Table> table = ParseJsonTable(buffer_, source_);
  buffer_.clear();
  return table;
}

}  // namespace densityd::ctl
