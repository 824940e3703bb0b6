// FlowSpec as protobuf JSON, as `densityctl train --spec` takes it: either an error with a field's path, or a spec with
// defaults that are accepted too, within the limits.
#include <string_view>

#include "density/v1/flow_spec.pb.h"
#include "google/protobuf/util/json_util.h"
#include "server/flow/spec.h"
#include "tests/fuzz/check.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace densityd;
  density::v1::FlowSpec spec;
  const google::protobuf::StringPiece text(reinterpret_cast<const char*>(data), size);
  if (!google::protobuf::util::JsonStringToMessage(text, &spec).ok()) return 0;
  const absl::Status status = flow::CheckFlowSpec(spec);
  if (!status.ok()) {
    FUZZ_CHECK(fuzz::IsTold(status, absl::StatusCode::kInvalidArgument));
    return 0;
  }
  const density::v1::FlowSpec full = flow::WithDefaults(spec);
  FUZZ_CHECK(flow::CheckFlowSpec(full).ok());
  FUZZ_CHECK(flow::WithDefaults(full).SerializeAsString() == full.SerializeAsString());
  FUZZ_CHECK(flow::CountParameters(full) <= flow::kMaxParameters);
  uint64_t learnt = 0;
  for (const auto& tensor : flow::FlowTensors(full)) {
    uint64_t numbers = 1;
    for (const int64_t length : tensor.shape) {
      FUZZ_CHECK(length >= 0);
      numbers *= static_cast<uint64_t>(length);
    }
    if (tensor.learnt) learnt += numbers;
  }
  FUZZ_CHECK(learnt == flow::CountParameters(full));
  return 0;
}
