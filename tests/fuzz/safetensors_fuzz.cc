// Weights: hostile headers; what was read is laid out and read again unchanged.
#include <string>
#include <string_view>

#include "server/registry/safetensors.h"
#include "tests/fuzz/check.h"

namespace densityd::fuzz {
namespace {

using registry::Tensor;

bool Same(const Tensor& a, const Tensor& b) {
  return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape && a.data == b.data;
}

void CheckWrittenAndRead(const std::vector<Tensor>& tensors) {
  const auto layout = registry::LayOutSafetensors(tensors);
  FUZZ_CHECK(layout.ok());
  std::string bytes = layout->header;
  for (const Tensor* tensor : layout->tensors) bytes += tensor->data;
  const auto again = registry::ParseSafetensors(bytes, "again");
  FUZZ_CHECK(again.ok() && again->size() == tensors.size());
  for (size_t i = 0; i < again->size(); ++i) FUZZ_CHECK(Same((*again)[i], *layout->tensors[i]));
}

}  // namespace
}  // namespace densityd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace densityd;
  const auto tensors = registry::ParseSafetensors(std::string_view(reinterpret_cast<const char*>(data), size), "input");
  if (!tensors.ok()) {
    FUZZ_CHECK(fuzz::IsTold(tensors.status(), absl::StatusCode::kDataLoss));
    return 0;
  }
  size_t bytes = 0;
  for (const auto& tensor : *tensors) {
    FUZZ_CHECK(tensor.data.size() == registry::TensorBytes(tensor.dtype, tensor.shape));
    bytes += tensor.data.size();
  }
  FUZZ_CHECK(bytes <= size);
  fuzz::CheckWrittenAndRead(*tensors);
  return 0;
}
