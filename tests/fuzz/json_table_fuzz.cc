// Tables as JSON, which densityctl reads.
#include <string_view>

#include "client/ctl/json_table.h"
#include "tests/fuzz/check.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace densityd;
  const auto table = ctl::ParseJsonTable(std::string_view(reinterpret_cast<const char*>(data), size), "input");
  if (!table.ok()) {
    FUZZ_CHECK(fuzz::IsTold(table.status(), absl::StatusCode::kInvalidArgument));
    return 0;
  }
  FUZZ_CHECK(table->values.size() == table->rows * table->cols);
  FUZZ_CHECK(table->columns.empty() || table->columns.size() == table->cols);
  return 0;
}
