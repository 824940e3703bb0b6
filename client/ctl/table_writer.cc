#include "client/ctl/table_writer.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace densityd::ctl {

TableWriter::TableWriter(const OutputFlags& flags, std::vector<std::string> columns, std::ostream& out)
    : path_(flags.path), columns_(std::move(columns)), out_(path_ == "-" ? out : file_) {
  std::string format = flags.format;
  if (format.empty()) format = absl::EndsWith(path_, ".npy") ? "npy" : absl::EndsWith(path_, ".json") ? "json" : "csv";
  format_ = format == "npy" ? Format::kNpy : format == "json" ? Format::kJson : Format::kCsv;
}

absl::StatusOr<std::unique_ptr<TableWriter>> TableWriter::Open(const OutputFlags& flags,
                                                               std::vector<std::string> columns,
                                                               nlohmann::ordered_json members,
                                                               std::optional<uint64_t> rows, Session& session) {
  auto writer = std::unique_ptr<TableWriter>(new TableWriter(flags, std::move(columns), session.streams.out));
  if (writer->path_ != "-") {
    if (absl::Status status = writer->OpenFile(); !status.ok()) return status;
  }
  absl::Status status;
  switch (writer->format_) {
    case Format::kCsv:
      status = writer->Put(
          FormatCsv({.rows = 0, .cols = writer->columns_.size(), .columns = writer->columns_, .values = {}}));
      break;
    case Format::kNpy:
      writer->rows_known_ = rows.has_value();
      if (rows.has_value() || !writer->part_.empty()) {
        status = writer->Put(FormatNpyHeader(rows.value_or(0), writer->columns_.size()));
      }
      break;
    case Format::kJson:
      members["columns"] = writer->columns_;
      std::string text = members.dump();
      text.back() = ',';
      status = writer->Put(text + "\"rows\":[");
      break;
  }
  if (!status.ok()) return status;
  return writer;
}

TableWriter::~TableWriter() {
  if (complete_ || part_.empty()) return;
  file_.close();
  std::error_code ignored;
  std::filesystem::remove(part_, ignored);
}

absl::Status TableWriter::OpenFile() {
  std::error_code ignored;
  const bool regular = !std::filesystem::exists(path_, ignored) || std::filesystem::is_regular_file(path_, ignored);
  // A device or a pipe is written as it is.
  if (regular) part_ = path_ + ".part";
  errno = 0;
  file_.open(regular ? part_ : path_, std::ios::binary | std::ios::trunc);
  if (!file_) part_.clear();
  return file_ ? absl::OkStatus() : Error();
}

absl::Status TableWriter::Error() const {
  return absl::UnknownError(
      absl::StrCat("cannot write ", path_ == "-" ? "the standard output" : path_, ": ", std::strerror(errno)));
}

absl::Status TableWriter::Put(std::string_view bytes) {
  errno = 0;
  out_.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return out_ ? absl::OkStatus() : Error();
}

void TableWriter::AppendJsonRows(std::span<const double> values, std::string& text) const {
  const size_t cols = columns_.size();
  for (size_t begin = 0; begin < values.size(); begin += cols) {
    if (rows_ > 0 || begin > 0) text += ',';
    const std::span<const double> row = values.subspan(begin, cols);
    text += nlohmann::json(std::vector<double>(row.begin(), row.end())).dump();
  }
}

absl::Status TableWriter::Write(std::span<const double> values) {
  const size_t rows = values.size() / columns_.size();
  absl::Status status;
  switch (format_) {
    case Format::kCsv:
      status = Put(
          FormatCsv({.rows = rows, .cols = columns_.size(), .columns = {}, .values = {values.begin(), values.end()}}));
      break;
    case Format::kNpy:
      if (rows_known_ || !part_.empty()) {
        status = Put({reinterpret_cast<const char*>(values.data()), values.size_bytes()});
      } else {
        kept_.insert(kept_.end(), values.begin(), values.end());
      }
      break;
    case Format::kJson: {
      std::string text;
      AppendJsonRows(values, text);
      status = Put(text);
      break;
    }
  }
  rows_ += rows;
  return status;
}

absl::Status TableWriter::Finish() {
  absl::Status status;
  if (format_ == Format::kJson) status = Put("]}\n");
  if (format_ == Format::kNpy && !rows_known_) {
    if (!part_.empty()) out_.seekp(0);
    status = Put(FormatNpyHeader(rows_, columns_.size()));
    if (status.ok() && part_.empty()) {
      status = Put({reinterpret_cast<const char*>(kept_.data()), kept_.size() * sizeof(double)});
    }
  }
  if (!status.ok()) return status;
  errno = 0;
  out_.flush();
  if (!out_) return Error();
  if (!part_.empty()) {
    file_.close();
    std::error_code error;
    std::filesystem::rename(part_, path_, error);
    if (error) return absl::UnknownError(absl::StrCat("cannot write ", path_, ": ", error.message()));
  }
  complete_ = true;
  return absl::OkStatus();
}

}  // namespace densityd::ctl
