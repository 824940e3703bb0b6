#include "server/base/table_stream.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace densityd {
namespace {

constexpr size_t kBlockBytes = 1 << 20;
constexpr size_t kBlockNumbers = kBlockBytes / sizeof(double);

}  // namespace

absl::Status TableStream::Fill(size_t bytes) {
  while (!ended_ && buffer_.size() < bytes) {
    const size_t old_size = buffer_.size();
    // Not `bytes` at once: a header may claim more than there is.
    buffer_.resize(old_size + kBlockBytes);
    const absl::StatusOr<size_t> got = input_(buffer_.data() + old_size, kBlockBytes);
    buffer_.resize(old_size + (got.ok() ? *got : 0));
    if (!got.ok()) return got.status();
    bytes_read_ += *got;
    ended_ = *got == 0;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string_view> TableStream::Begin() {
  if (absl::Status status = Fill(kNpyHeaderBytes); !status.ok()) return status;
  return buffer_;
}

absl::StatusOr<std::string> TableStream::TakeAll() {
  if (absl::Status status = Fill(std::numeric_limits<size_t>::max()); !status.ok()) return status;
  finished_ = true;
  return std::exchange(buffer_, std::string());
}

absl::Status TableStream::FindFormat() {
  const absl::StatusOr<std::string_view> begin = Begin();
  if (!begin.ok()) return begin.status();
  format_ = absl::StartsWith(buffer_, "\x93") ? Format::kNpy : Format::kCsv;
  if (format_ == Format::kCsv) return absl::OkStatus();
  absl::StatusOr<NpyLayout> layout = ParseNpyHeader(buffer_, source_);
  if (!layout.ok()) return layout.status();
  npy_ = *std::move(layout);
  npy_rows_left_ = npy_.rows;
  buffer_.erase(0, npy_.data_offset);
  return absl::OkStatus();
}

absl::StatusOr<Table> TableStream::Next() {
  if (format_ == Format::kUnknown) {
    if (absl::Status status = FindFormat(); !status.ok()) return status;
  }
  return format_ == Format::kNpy ? NextNpy() : NextCsv();
}

absl::StatusOr<Table> TableStream::NextCsv() {
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

absl::StatusOr<Table> TableStream::NextNpy() {
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

}  // namespace densityd
