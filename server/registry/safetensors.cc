#include "server/registry/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/errors.h"
#include "server/base/strings.h"
#include "server/registry/safetensors_header.h"

namespace densityd::registry {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored as they are in memory");

constexpr size_t kLengthBytes = 8;
constexpr size_t kAlignment = 64;
constexpr uint64_t kMaxHeaderBytes = 16 << 20;

bool IsPrintable(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

absl::Status CheckTensor(const Tensor& tensor, const std::string& field) {
  if (tensor.name.empty() || tensor.name.size() > kMaxTensorNameBytes || !IsPrintable(tensor.name) ||
      tensor.name == "__metadata__") {
    return InvalidArgument(field, absl::StrCat("the name ", Quote(tensor.name), " is not 1 to ", kMaxTensorNameBytes,
                                               " printable ASCII characters, or is reserved"));
  }
  if (tensor.shape.size() > kMaxDimensions) {
    return InvalidArgument(field, absl::StrCat("has ", tensor.shape.size(), " dimensions; at most ", kMaxDimensions));
  }
  const std::optional<uint64_t> bytes = TensorBytes(tensor.dtype, tensor.shape);
  if (bytes != tensor.data.size()) {
    return InvalidArgument(field, absl::StrCat("has ", tensor.data.size(), " bytes of data; its shape needs ",
                                               bytes ? absl::StrCat(*bytes) : "more than can be"));
  }
  return absl::OkStatus();
}

absl::Status CheckTensors(absl::Span<const Tensor> tensors) {
  if (tensors.size() > kMaxTensors) {
    return InvalidArgument("tensors", absl::StrCat("has ", tensors.size(), " tensors; at most ", kMaxTensors));
  }
  absl::flat_hash_set<std::string> names;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string field = absl::StrCat("tensors[", i, "]");
    if (absl::Status status = CheckTensor(tensors[i], field); !status.ok()) return status;
    if (!names.insert(tensors[i].name).second) {
      return InvalidArgument(field, absl::StrCat("the name ", Quote(tensors[i].name), " stands there twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckEntry(const TensorEntry& entry, uint64_t expected_begin, uint64_t data_bytes, std::string_view file) {
  const std::string section = absl::StrCat("tensor ", Quote(entry.name));
  if (entry.begin > entry.end || entry.end > data_bytes) {
    return DataLoss(file, section,
                    absl::StrCat("lies at [", entry.begin, ", ", entry.end, "); the data has ", data_bytes, " bytes"));
  }
  if (entry.begin != expected_begin) {
    return DataLoss(file, section,
                    absl::StrCat("begins at ", entry.begin, "; the tensor before it ends at ", expected_begin));
  }
  if (entry.begin % ElementBytes(entry.dtype) != 0) {
    return DataLoss(file, section, absl::StrCat("begins at ", entry.begin, ", which is not aligned"));
  }
  const std::optional<uint64_t> bytes = TensorBytes(entry.dtype, entry.shape);
  if (bytes != entry.end - entry.begin) {
    return DataLoss(file, section,
                    absl::StrCat("has ", entry.end - entry.begin, " bytes; its shape needs ",
                                 bytes ? absl::StrCat(*bytes) : "more than can be"));
  }
  return absl::OkStatus();
}

/// Sorts `entries` by place and checks that they fill the data without gap or overlap.
absl::Status CheckEntries(std::vector<TensorEntry>& entries, uint64_t data_bytes, std::string_view file) {
  std::stable_sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  uint64_t filled = 0;
  for (const TensorEntry& entry : entries) {
    if (absl::Status status = CheckEntry(entry, filled, data_bytes, file); !status.ok()) return status;
    filled = entry.end;
  }
  if (filled == data_bytes) return absl::OkStatus();
  return DataLoss(file, "data", absl::StrCat("has ", data_bytes, " bytes, of which the tensors use ", filled));
}

/// Splits a file into header and data.
absl::Status Split(std::string_view bytes, std::string_view file, std::string_view& header, std::string_view& data) {
  if (bytes.size() < kLengthBytes) return DataLoss(file, "header", "is cut short");
  uint64_t length;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  const uint64_t rest = bytes.size() - kLengthBytes;
  if (length > std::min(rest, kMaxHeaderBytes)) {
    return DataLoss(
        file, "header",
        absl::StrCat("claims ", length, " bytes; ", rest, " follow, and at most ", kMaxHeaderBytes, " are read"));
  }
  if (length % 8 != 0)
    return DataLoss(file, "header", absl::StrCat("has ", length, " bytes, so the data is not aligned"));
  header = bytes.substr(kLengthBytes, length);
  data = bytes.substr(kLengthBytes + length);
  return absl::OkStatus();
}

}  // namespace

std::optional<uint64_t> TensorBytes(DType dtype, absl::Span<const int64_t> shape) {
  uint64_t bytes = ElementBytes(dtype);
  bool overflow = false;
  bool empty = false;
  for (int64_t size : shape) {
    if (size < 0) return std::nullopt;
    empty |= size == 0;
    overflow |= __builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes);
  }
  if (empty) return 0;
  return overflow ? std::nullopt : std::optional<uint64_t>(bytes);
}

absl::StatusOr<SafetensorsLayout> LayOutSafetensors(absl::Span<const Tensor> tensors) {
  if (absl::Status status = CheckTensors(tensors); !status.ok()) return status;
  SafetensorsLayout layout;
  for (const Tensor& tensor : tensors) layout.tensors.push_back(&tensor);
  std::stable_sort(layout.tensors.begin(), layout.tensors.end(),
                   [](const Tensor* a, const Tensor* b) { return ElementBytes(a->dtype) > ElementBytes(b->dtype); });
  std::string text = "{";
  uint64_t begin = 0;
  for (const Tensor* tensor : layout.tensors) {
    const uint64_t end = begin + tensor->data.size();
    absl::StrAppend(&text, text.size() == 1 ? "" : ",", nlohmann::json(tensor->name).dump(), ":{\"dtype\":\"",
                    ToAbsl(DTypeName(tensor->dtype)), "\",\"shape\":[", absl::StrJoin(tensor->shape, ","),
                    "],\"data_offsets\":[", begin, ",", end, "]}");
    begin = end;
  }
  text.push_back('}');
  text.append((kAlignment - (kLengthBytes + text.size()) % kAlignment) % kAlignment, ' ');
  if (text.size() > kMaxHeaderBytes) {
    return InvalidArgument("tensors",
                           absl::StrCat("need a header of ", text.size(), " bytes; at most ", kMaxHeaderBytes));
  }
  const uint64_t length = text.size();
  layout.header.assign(reinterpret_cast<const char*>(&length), kLengthBytes);
  layout.header += text;
  return layout;
}

absl::StatusOr<std::vector<Tensor>> ParseSafetensors(std::string_view bytes, std::string_view file) {
  std::string_view header;
  std::string_view data;
  if (absl::Status status = Split(bytes, file, header, data); !status.ok()) return status;
  absl::StatusOr<std::vector<TensorEntry>> entries = ParseSafetensorsHeader(header, file);
  if (!entries.ok()) return entries.status();
  if (absl::Status status = CheckEntries(*entries, data.size(), file); !status.ok()) return status;
  std::vector<Tensor> tensors;
  tensors.reserve(entries->size());
  for (TensorEntry& entry : *entries) {
    tensors.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape),
                       std::string(data.substr(entry.begin, entry.end - entry.begin))});
  }
  return tensors;
}

}  // namespace densityd::registry
