#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/charconv.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/base/errors.h"
#include "server/base/strings.h"
#include "server/base/table.h"

namespace densityd {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

std::string_view Trim(std::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

enum class NumberError { kNone, kNotANumber, kTooLarge };

NumberError ParseNumber(std::string_view text, double& value) {
  const char* begin = text.data();
  const char* end = begin + text.size();
  // from_chars knows no plus sign.
  if (text.size() > 1 && text[0] == '+' && text[1] != '-' && text[1] != '+') ++begin;
  const auto [stop, error] = std::from_chars(begin, end, value);
  if (stop != end || error == std::errc::invalid_argument) return NumberError::kNotANumber;
  if (error == std::errc()) return NumberError::kNone;
  // Out of range: abseil tells too large (the largest number) from too small (nearly 0).
  absl::from_chars(begin, end, value);
  return std::abs(value) > 1 ? NumberError::kTooLarge : NumberError::kNone;
}

struct Cell {
  std::string text;
  bool quoted = false;
};

/// One line at a time, with its number.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}

  /// Goes on with `text`. Precondition: Next returned false.
  void Continue(std::string_view text) { rest_ = text; }

  bool Next() {
    if (rest_.empty()) return false;
    const size_t end = rest_.find('\n');
    line_ = rest_.substr(0, end);
    rest_ = end == std::string_view::npos ? std::string_view() : rest_.substr(end + 1);
    if (!line_.empty() && line_.back() == '\r') line_.remove_suffix(1);
    ++number_;
    return true;
  }
  std::string_view line() const { return line_; }
  std::string_view rest() const { return rest_; }
  size_t number() const { return number_; }
  void SkipRest() {
    number_ += static_cast<size_t>(std::count(rest_.begin(), rest_.end(), '\n'));
    rest_ = {};
  }
  /// Whether only blank lines are left, this one included.
  bool OnlyBlankLeft() const {
    return Trim(line_).empty() && rest_.find_first_not_of(" \t\r\n") == std::string_view::npos;
  }

 private:
  std::string_view rest_;
  std::string_view line_;
  size_t number_ = 0;
};

/// Some programs begin UTF-8 files with it; it belongs to no name.
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

class CsvParser {
 public:
  explicit CsvParser(std::string source) : source_(std::move(source)) {}

  /// The rows of some more whole lines.
  absl::StatusOr<Table> Parse(std::string_view text) {
    if (!begun_) {
      if (text.substr(0, kByteOrderMark.size()) == kByteOrderMark) text.remove_prefix(kByteOrderMark.size());
    }
    lines_.Continue(text);
    table_.rows = 0;
    table_.values.clear();
    while (lines_.Next()) {
      if (lines_.OnlyBlankLeft()) {
        if (first_blank_ == 0) first_blank_ = lines_.number();
        lines_.SkipRest();
        continue;
      }
      if (first_blank_ != 0 && begun_) return BlankLine();
      if (absl::Status status = begun_ ? ParseRow() : ParseFirstLine(); !status.ok()) return status;
    }
    rows_ += table_.rows;
    Table rows = {.rows = table_.rows, .cols = table_.cols, .columns = table_.columns, .values = {}};
    rows.values.swap(table_.values);
    return rows;
  }

  absl::Status Finish() const {
    if (!begun_) return InvalidArgument(source_, "is empty; rows are needed");
    if (rows_ == 0) return InvalidArgument(source_, "has a header and no rows");
    return absl::OkStatus();
  }

 private:
  absl::Status ParseFirstLine() {
    begun_ = true;
    absl::StatusOr<std::vector<Cell>> cells = SplitLine(lines_.line());
    if (!cells.ok()) return cells.status();
    table_.cols = cells->size();
    // Every number takes a digit and a separator at least, which bounds what a hostile first line can reserve.
    const size_t lines = 2 + std::count(lines_.rest().begin(), lines_.rest().end(), '\n');
    const size_t bytes = lines_.line().size() + lines_.rest().size();
    table_.values.reserve(std::min(lines * table_.cols, bytes / 2 + 1));
    return IsHeader(*cells) ? ReadNames(*std::move(cells)) : ParseRow();
  }

  bool IsHeader(const std::vector<Cell>& cells) {
    double ignored;
    const auto is_name = [&](const Cell& cell) {
      return !cell.text.empty() && ParseNumber(cell.text, ignored) == NumberError::kNotANumber;
    };
    if (std::any_of(cells.begin(), cells.end(), is_name)) return true;
    const auto is_quoted = [](const Cell& cell) { return cell.quoted; };
    if (!std::all_of(cells.begin(), cells.end(), is_quoted)) return false;
    Lines next = lines_;
    if (!next.Next()) return false;
    const absl::StatusOr<std::vector<Cell>> second = SplitLine(next.line());
    return second.ok() && !std::all_of(second->begin(), second->end(), is_quoted);
  }

  absl::Status ReadNames(std::vector<Cell> cells) {
    absl::flat_hash_set<std::string> seen;
    for (size_t column = 0; column < cells.size(); ++column) {
      std::string& name = cells[column].text;
      if (name.empty()) return Error(column, "the column's name is empty");
      if (!seen.insert(name).second) {
        return Error(column, absl::StrCat("the column name ", Quote(name), " stands there twice"));
      }
      table_.columns.push_back(std::move(name));
    }
    return absl::OkStatus();
  }

  absl::Status ParseRow() {
    const std::string_view line = lines_.line();
    const char* cursor = line.data();
    const char* const end = cursor + line.size();
    size_t column = 0;
    for (;; ++column) {
      if (column == table_.cols) return Ragged();
      // The common cell is a plain number; whatever is not goes the careful way.
      while (cursor != end && IsBlank(*cursor)) ++cursor;
      double value;
      auto [stop, error] = std::from_chars(cursor, end, value);
      while (stop != end && IsBlank(*stop)) ++stop;
      if (error != std::errc() || (stop != end && *stop != ',')) return ParseCarefully();
      table_.values.push_back(value);
      if (stop == end) break;
      cursor = stop + 1;
    }
    if (column + 1 != table_.cols) return Ragged();
    ++table_.rows;
    return absl::OkStatus();
  }

  /// The row again from its first cell, with quotes, plus signs and errors.
  absl::Status ParseCarefully() {
    table_.values.resize(table_.rows * table_.cols);
    absl::StatusOr<std::vector<Cell>> cells = SplitLine(lines_.line());
    if (!cells.ok()) return cells.status();
    if (cells->size() != table_.cols) return Ragged();
    for (size_t column = 0; column < cells->size(); ++column) {
      const std::string& text = (*cells)[column].text;
      if (text.empty())
        return Error(column,
                     "the cell is empty; fill it in, write nan where a number may be missing, or leave the row out");
      double value;
      switch (ParseNumber(text, value)) {
        case NumberError::kNone:
          break;
        case NumberError::kTooLarge:
          return Error(column, absl::StrCat(Quote(text), " is too large for float64"));
        case NumberError::kNotANumber:
          return Error(column, absl::StrCat(Quote(text), " is not a number", SeparatorHint(text)));
      }
      table_.values.push_back(value);
    }
    ++table_.rows;
    return absl::OkStatus();
  }

  static absl::string_view SeparatorHint(const std::string& text) {
    return text.find_first_of(";\t") == std::string::npos ? "" : "; cells are separated by commas";
  }

  absl::StatusOr<std::vector<Cell>> SplitLine(std::string_view line) const {
    std::vector<Cell> cells;
    for (;;) {
      while (!line.empty() && IsBlank(line.front())) line.remove_prefix(1);
      Cell& cell = cells.emplace_back();
      if (!line.empty() && line.front() == '"') {
        std::optional<size_t> used = Unquote(line, cell.text);
        if (!used) return Error(cells.size() - 1, "the quote is not closed on its line");
        cell.quoted = true;
        line.remove_prefix(*used);
        while (!line.empty() && IsBlank(line.front())) line.remove_prefix(1);
        if (!line.empty() && line.front() != ',') return Error(cells.size() - 1, "text follows the closing quote");
      } else {
        const size_t end = std::min(line.find(','), line.size());
        cell.text = Trim(line.substr(0, end));
        line.remove_prefix(end);
      }
      if (line.empty()) return cells;
      line.remove_prefix(1);
    }
  }

  /// Reads the quoted cell at the start of `line`, where "" stands for a quote. The bytes used; none where it is open.
  static std::optional<size_t> Unquote(std::string_view line, std::string& text) {
    for (size_t i = 1; i < line.size(); ++i) {
      if (line[i] == '"') {
        if (i + 1 == line.size() || line[i + 1] != '"') {
          text = Trim(text);
          return i + 1;
        }
        ++i;
      }
      text.push_back(line[i]);
    }
    return std::nullopt;
  }

  absl::Status Ragged() const {
    if (Trim(lines_.line()).empty()) return LineError("is empty; leave it out");
    const absl::StatusOr<std::vector<Cell>> cells = SplitLine(lines_.line());
    if (!cells.ok()) return cells.status();
    return LineError(absl::StrCat("has ", cells->size(), " cells; the lines before it have ", table_.cols));
  }

  absl::Status LineError(absl::string_view message) const {
    return InvalidArgument(source_, absl::StrCat("line ", lines_.number(), " ", message));
  }

  absl::Status Error(size_t column, absl::string_view message) const {
    const std::string name =
        column < table_.columns.size() ? absl::StrCat(" (", Quote(table_.columns[column]), ")") : std::string();
    return InvalidArgument(source_,
                           absl::StrCat("line ", lines_.number(), ", column ", column + 1, name, ": ", message));
  }

  absl::Status BlankLine() const {
    return InvalidArgument(source_, absl::StrCat("line ", first_blank_, " is empty; leave it out"));
  }

  Lines lines_{""};
  const std::string source_;
  Table table_;  ///< of the current piece
  bool begun_ = false;
  size_t rows_ = 0;
  size_t first_blank_ = 0;  ///< number of the first of the blank lines at the end so far
};

bool NeedsQuotes(const std::string& name) {
  double ignored;
  return name != Trim(name) || name.find_first_of("\",\r") != std::string::npos || name.rfind(kByteOrderMark, 0) == 0 ||
         ParseNumber(name, ignored) != NumberError::kNotANumber;
}

void AppendHeader(const std::vector<std::string>& names, std::string& out) {
  // Quoting all names where all are numbers keeps the header apart from a row.
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) out.push_back(',');
    out += NeedsQuotes(names[i]) ? absl::StrCat("\"", absl::StrReplaceAll(names[i], {{"\"", "\"\""}}), "\"") : names[i];
  }
  out.push_back('\n');
}

}  // namespace

struct CsvPieces::Parser : CsvParser {
  using CsvParser::CsvParser;
};

CsvPieces::CsvPieces(std::string source) : parser_(std::make_unique<Parser>(std::move(source))) {}
CsvPieces::~CsvPieces() = default;
absl::StatusOr<Table> CsvPieces::Parse(std::string_view lines) { return parser_->Parse(lines); }
absl::Status CsvPieces::Finish() const { return parser_->Finish(); }

absl::StatusOr<Table> ParseCsv(std::string_view text, std::string_view source) {
  CsvParser parser{std::string(source)};
  absl::StatusOr<Table> table = parser.Parse(text);
  if (!table.ok()) return table;
  if (absl::Status status = parser.Finish(); !status.ok()) return status;
  return table;
}

std::string FormatCsv(const Table& table) {
  std::string out;
  if (!table.columns.empty()) AppendHeader(table.columns, out);
  char digits[32];
  for (size_t row = 0; row < table.rows; ++row) {
    for (size_t column = 0; column < table.cols; ++column) {
      const auto [end, error] = std::to_chars(digits, digits + sizeof(digits), table.values[row * table.cols + column]);
      (void)error;  // 24 characters hold every float64.
      out.append(digits, end);
      out.push_back(column + 1 < table.cols ? ',' : '\n');
    }
  }
  return out;
}

}  // namespace densityd
