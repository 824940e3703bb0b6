// density.v1.Matrix as it travels: shapes that lie, numbers that are none.
#include <string_view>

#include "density/v1/matrix.pb.h"
#include "server/rpc/matrix.h"
#include "tests/fuzz/check.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace densityd;
  density::v1::Matrix message;
  if (!message.ParseFromArray(data, static_cast<int>(size))) return 0;
  const auto rows = rpc::ViewRows("x", message);
  if (!rows.ok()) {
    FUZZ_CHECK(fuzz::IsTold(rows.status(), absl::StatusCode::kInvalidArgument));
    return 0;
  }
  FUZZ_CHECK(rows->rows > 0 && rows->cols > 0);
  FUZZ_CHECK(rows->rows <= message.ByteSizeLong() && rows->cols <= message.ByteSizeLong());
  for (const NumberType precision : {NumberType::kFloat32, NumberType::kFloat64}) {
    const absl::Status finite = rpc::CheckFinite("x", *rows, precision);
    FUZZ_CHECK(finite.ok() || fuzz::IsTold(finite, absl::StatusCode::kInvalidArgument));
  }
  return 0;
}
