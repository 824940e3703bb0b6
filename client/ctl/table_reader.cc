#include "client/ctl/table_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/ctl/json_table.h"

namespace densityd::ctl {

TableReader::TableReader(std::string path, std::istream& in)
    : path_(std::move(path)),
      source_(path_ == "-" ? "standard input" : path_),
      in_(path_ == "-" ? in : file_),
      stream_(source_, [this](char* to, size_t size) { return Read(to, size); }) {}

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
  const absl::StatusOr<std::string_view> begin = reader->stream_.Begin();
  if (!begin.ok()) return begin.status();
  const absl::string_view text = absl::StripLeadingAsciiWhitespace(absl::string_view(begin->data(), begin->size()));
  reader->is_json_ = absl::StartsWith(text, "[") || absl::StartsWith(text, "{");
  return reader;
}

std::optional<double> TableReader::share_read() const {
  if (file_bytes_ == 0) return std::nullopt;
  return std::min(1.0, static_cast<double>(stream_.bytes_used()) / static_cast<double>(file_bytes_));
}

absl::StatusOr<size_t> TableReader::Read(char* to, size_t size) {
  in_.read(to, static_cast<std::streamsize>(size));
  if (in_.bad()) return absl::InvalidArgumentError(absl::StrCat("cannot read ", source_));
  return static_cast<size_t>(in_.gcount());
}

absl::StatusOr<Table> TableReader::Next() { return is_json_ ? NextJson() : stream_.Next(); }

absl::StatusOr<Table> TableReader::NextJson() {
  if (std::exchange(finished_, true)) return Table();
  const absl::StatusOr<std::string> text = stream_.TakeAll();
  if (!text.ok()) return text.status();
  return ParseJsonTable(*text, source_);
}

}  // namespace densityd::ctl
