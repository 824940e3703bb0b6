// CSV: what was read is written and read again unchanged, and the pieces of a text are the whole.
#include <algorithm>
#include <string_view>

#include "server/base/table.h"
#include "tests/fuzz/check.h"

namespace densityd::fuzz {
namespace {

void CheckSame(const Table& a, const Table& b) {
  FUZZ_CHECK(a.rows == b.rows && a.cols == b.cols && a.columns == b.columns);
  FUZZ_CHECK(std::equal(a.values.begin(), a.values.end(), b.values.begin(), b.values.end(), SameNumber));
}

/// Where the first piece may end: behind its second line at least.
size_t EndOfFirstPiece(std::string_view text) {
  size_t end = 0;
  for (int line = 0; line < 2 && end != std::string_view::npos; ++line) end = text.find('\n', line == 0 ? 0 : end + 1);
  return end == std::string_view::npos ? text.size() : end + 1;
}

void CheckPieces(std::string_view text, const Table& whole) {
  CsvPieces pieces("pieces");
  const size_t end = EndOfFirstPiece(text);
  const auto first = pieces.Parse(text.substr(0, end));
  const auto second = pieces.Parse(text.substr(end));
  FUZZ_CHECK(first.ok() && second.ok() && pieces.Finish().ok());
  FUZZ_CHECK(first->rows + second->rows == whole.rows);
  Table joined = *first;
  joined.rows += second->rows;
  joined.values.insert(joined.values.end(), second->values.begin(), second->values.end());
  CheckSame(joined, whole);
}

}  // namespace
}  // namespace densityd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace densityd;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto table = ParseCsv(text, "input");
  if (!table.ok()) {
    FUZZ_CHECK(fuzz::IsTold(table.status(), absl::StatusCode::kInvalidArgument));
    return 0;
  }
  FUZZ_CHECK(table->rows > 0 && table->cols > 0 && table->values.size() == table->rows * table->cols);
  FUZZ_CHECK(table->columns.empty() || table->columns.size() == table->cols);
  const auto again = ParseCsv(FormatCsv(*table), "again");
  FUZZ_CHECK(again.ok());
  fuzz::CheckSame(*again, *table);
  fuzz::CheckPieces(text, *table);
  return 0;
}
