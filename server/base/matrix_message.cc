#include "server/base/matrix_message.h"

#include <bit>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace densityd {
namespace {

static_assert(std::endian::native == std::endian::little, "messages are little-endian and read in place");

// Bytes of one encoding and what they hold.
struct Content {
  const char* name;
  const void* data;
  uint64_t bytes;
  NumberType type;
};

}  // namespace

absl::StatusOr<ConstMatrix> ViewMatrix(const density::v1::Matrix& message, std::string_view field) {
  const Content encodings[] = {
      {"values", message.values().data(), uint64_t{4} * message.values_size(), NumberType::kFloat32},
      {"f32_le", message.f32_le().data(), message.f32_le().size(), NumberType::kFloat32},
      {"f64_le", message.f64_le().data(), message.f64_le().size(), NumberType::kFloat64}};
  const Content* content = nullptr;
  for (const Content& encoding : encodings) {
    if (encoding.bytes == 0) continue;
    if (content != nullptr) {
      return InvalidArgument(
          field, absl::StrCat("sets both `", content->name, "` and `", encoding.name, "`; exactly one may be set"));
    }
    content = &encoding;
  }
  uint64_t numbers = 0;
  if (__builtin_mul_overflow(message.rows(), message.cols(), &numbers)) {
    return InvalidArgument(field, absl::StrCat("claims ", message.rows(), " rows of ", message.cols(),
                                               " columns, more numbers than can be counted"));
  }
  const uint64_t bytes = content == nullptr ? 0 : content->bytes;
  const uint64_t width = content == nullptr ? 4 : NumberBytes(content->type);
  if (bytes % width != 0 || bytes / width != numbers) {
    return InvalidArgument(field, absl::StrCat("claims ", message.rows(), " rows of ", message.cols(), " columns (",
                                               numbers, " numbers) but holds ", bytes, " bytes of ",
                                               width == 4 ? "float32" : "float64", " numbers"));
  }
  if (content == nullptr) return ConstMatrix();
  return ConstMatrix{content->data, content->type, message.rows(), message.cols()};
}

}  // namespace densityd
