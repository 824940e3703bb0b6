// NPY: a header that lies about its shape takes no memory; what was read is written and read again unchanged.
#include <algorithm>
#include <string_view>

#include "server/base/table.h"
#include "tests/fuzz/check.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace densityd;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto layout = ParseNpyHeader(bytes.substr(0, kNpyHeaderBytes), "input");
  const auto table = ParseNpy(bytes, "input");
  if (!table.ok()) {
    FUZZ_CHECK(fuzz::IsTold(table.status(), absl::StatusCode::kInvalidArgument));
    return 0;
  }
  FUZZ_CHECK(layout.ok() && layout->rows == table->rows && layout->cols == table->cols);
  FUZZ_CHECK(table->values.size() == table->rows * table->cols && table->values.size() * 4 <= size);
  const auto again = ParseNpy(FormatNpy(*table), "again");
  FUZZ_CHECK(again.ok() && again->rows == table->rows && again->cols == table->cols);
  FUZZ_CHECK(std::equal(again->values.begin(), again->values.end(), table->values.begin(), table->values.end(),
                        fuzz::SameNumber));
  return 0;
}
