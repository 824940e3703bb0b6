#include "server/registry/safetensors_header.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"

namespace densityd::registry {
namespace {

using Json = nlohmann::json;

constexpr std::pair<std::string_view, DType> kDTypes[] = {
    {"F32", DType::kF32}, {"F64", DType::kF64}, {"I64", DType::kI64}, {"U8", DType::kU8}};

/// Follows the parser's events and accepts the one form that a header has, so that a hostile header can neither nest
/// nor repeat nor allocate. Each handler returns whether parsing goes on.
class HeaderEvents final : public nlohmann::json_sax<Json> {
 public:
  std::vector<TensorEntry> TakeEntries() { return std::move(entries_); }
  const std::string& section() const { return section_; }
  const std::string& error() const { return error_; }

  bool start_object(std::size_t) override {
    if (at_ == At::kStart) return GoOn(At::kTensorName);
    if (at_ == At::kTensor) return BeginTensor();
    if (at_ == At::kMetadata) return GoOn(At::kMetadataKey);
    return Unexpected("an object");
  }

  bool key(std::string& name) override {
    if (at_ == At::kTensorName) return TensorName(name);
    if (at_ == At::kMember) return Member(name);
    return GoOn(At::kMetadataValue);
  }

  bool end_object() override {
    if (at_ == At::kTensorName) return GoOn(At::kEnd);
    if (at_ == At::kMetadataKey) return GoOn(At::kTensorName);
    if (!has_dtype_ || !has_shape_ || !has_offsets_) return Fail("needs dtype, shape and data_offsets");
    return GoOn(At::kTensorName);
  }

  bool string(std::string& text) override {
    if (at_ == At::kMetadataValue) return GoOn(At::kMetadataKey);
    if (at_ != At::kDType) return Unexpected("a string");
    for (const auto& [name, dtype] : kDTypes) {
      if (name != text) continue;
      entries_.back().dtype = dtype;
      return GoOn(At::kMember);
    }
    return Fail(absl::StrCat("has dtype ", Quote(text), "; F32, F64, I64 and U8 are read"));
  }

  bool start_array(std::size_t) override {
    if (at_ == At::kShape) return GoOn(At::kShapeSizes);
    if (at_ == At::kOffsets) return GoOn(At::kOffsetNumbers);
    return Unexpected("an array");
  }

  bool end_array() override {
    if (at_ == At::kOffsetNumbers && offsets_ != 2) return Fail("needs two data_offsets");
    return GoOn(At::kMember);
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (at_ == At::kShapeSizes) return ShapeSize(value);
    if (at_ != At::kOffsetNumbers) return Unexpected("a number");
    if (offsets_ == 2) return Fail("has more than two data_offsets");
    (offsets_ == 0 ? entries_.back().begin : entries_.back().end) = value;
    ++offsets_;
    return true;
  }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return Unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return Unexpected("a fraction"); }
  bool binary(binary_t&) override { return Unexpected("binary"); }
  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    section_ = "header";
    return Fail(absl::StrCat("is no JSON at byte ", position));
  }

 private:
  /// What comes next.
  enum class At {
    kStart,
    kTensorName,
    kTensor,
    kMember,
    kDType,
    kShape,
    kShapeSizes,
    kOffsets,
    kOffsetNumbers,
    kMetadata,
    kMetadataKey,
    kMetadataValue,
    kEnd
  };

  bool GoOn(At at) {
    at_ = at;
    return true;
  }
  bool Fail(std::string error) {
    error_ = std::move(error);
    return false;
  }
  bool Unexpected(absl::string_view what) { return Fail(absl::StrCat("has ", what, " where none belongs")); }

  bool TensorName(const std::string& name) {
    if (!names_.insert(name).second) return Fail(absl::StrCat("names ", Quote(name), " twice"));
    if (name == "__metadata__") return GoOn(At::kMetadata);
    if (name.empty() || name.size() > kMaxTensorNameBytes) {
      return Fail(absl::StrCat("names a tensor with ", name.size(), " bytes; 1 to ", kMaxTensorNameBytes, " are read"));
    }
    if (entries_.size() == kMaxTensors) return Fail(absl::StrCat("names more than ", kMaxTensors, " tensors"));
    entries_.push_back({.name = name});
    return GoOn(At::kTensor);
  }

  bool BeginTensor() {
    section_ = absl::StrCat("tensor ", Quote(entries_.back().name));
    has_dtype_ = has_shape_ = has_offsets_ = false;
    offsets_ = 0;
    return GoOn(At::kMember);
  }

  bool Member(const std::string& name) {
    if (name == "dtype" && !std::exchange(has_dtype_, true)) return GoOn(At::kDType);
    if (name == "shape" && !std::exchange(has_shape_, true)) return GoOn(At::kShape);
    if (name == "data_offsets" && !std::exchange(has_offsets_, true)) return GoOn(At::kOffsets);
    return Fail(absl::StrCat("has an unknown or repeated member ", Quote(name)));
  }

  bool ShapeSize(uint64_t size) {
    std::vector<int64_t>& shape = entries_.back().shape;
    if (shape.size() == kMaxDimensions) return Fail(absl::StrCat("has more than ", kMaxDimensions, " dimensions"));
    if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return Fail("has a size beyond 2^63 - 1");
    shape.push_back(static_cast<int64_t>(size));
    return true;
  }

  At at_ = At::kStart;
  std::vector<TensorEntry> entries_;
  absl::flat_hash_set<std::string> names_;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  int offsets_ = 0;
  std::string section_ = "header";
  std::string error_ = "is no JSON object";
};

}  // namespace

std::string_view DTypeName(DType dtype) {
  for (const auto& [name, known] : kDTypes) {
    if (known == dtype) return name;
  }
  return "";
}

absl::StatusOr<std::vector<TensorEntry>> ParseSafetensorsHeader(std::string_view json, std::string_view file) {
  HeaderEvents events;
  if (!Json::sax_parse(json.begin(), json.end(), &events)) return DataLoss(file, events.section(), events.error());
  return events.TakeEntries();
}

}  // namespace densityd::registry
