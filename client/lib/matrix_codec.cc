#include "client/lib/matrix_codec.h"

#include <bit>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"

namespace densityd::client_internal {
namespace {

static_assert(std::endian::native == std::endian::little, "the API's byte fields are little-endian");

/// Appends the packed numbers of type Source in `bytes`.
template <typename Source, typename T>
void AppendBytes(const std::string& bytes, std::vector<T>& values) {
  const size_t old_size = values.size();
  const size_t count = bytes.size() / sizeof(Source);
  values.resize(old_size + count);
  if constexpr (std::is_same_v<Source, T>) {
    std::memcpy(values.data() + old_size, bytes.data(), bytes.size());
  } else {
    for (size_t i = 0; i < count; ++i) {
      Source number;
      std::memcpy(&number, bytes.data() + i * sizeof(Source), sizeof(Source));
      values[old_size + i] = static_cast<T>(number);
    }
  }
}

/// Appends the `count` numbers of a Matrix or a Vector.
template <typename Message, typename T>
absl::Status AppendNumbers(const Message& message, size_t count, std::string_view field, std::vector<T>& values) {
  size_t held = 0;
  if (!message.f32_le().empty()) {
    held = message.f32_le().size() % 4 == 0 ? message.f32_le().size() / 4 : 0;
    if (held == count) AppendBytes<float>(message.f32_le(), values);
  } else if (!message.f64_le().empty()) {
    held = message.f64_le().size() % 8 == 0 ? message.f64_le().size() / 8 : 0;
    if (held == count) AppendBytes<double>(message.f64_le(), values);
  } else {
    held = static_cast<size_t>(message.values_size());
    if (held == count) values.insert(values.end(), message.values().begin(), message.values().end());
  }
  if (held == count) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the server's answer is malformed: ", std::string(field), " should hold ",
                                          count, " numbers and holds ", held));
}

}  // namespace

template <RowNumber T>
density::v1::Encoding EncodingOf() {
  return std::is_same_v<T, float> ? density::v1::ENCODING_F32_LE : density::v1::ENCODING_F64_LE;
}

template <RowNumber T>
void Encode(RowsView<T> rows, density::v1::Matrix* message) {
  message->set_rows(rows.rows());
  message->set_cols(rows.cols());
  const auto* bytes = reinterpret_cast<const char*>(rows.values().data());
  if constexpr (std::is_same_v<T, float>) {
    message->set_f32_le(bytes, rows.values().size_bytes());
  } else {
    message->set_f64_le(bytes, rows.values().size_bytes());
  }
}

template <RowNumber T>
absl::Status AppendMatrix(const density::v1::Matrix& message, size_t rows, size_t cols, std::string_view field,
                          std::vector<T>& values) {
  if (message.rows() != rows || message.cols() != cols) {
    return absl::InternalError(absl::StrCat("the server's answer is malformed: ", std::string(field), " has shape (",
                                            message.rows(), ", ", message.cols(), "), not (", rows, ", ", cols, ")"));
  }
  return AppendNumbers(message, rows * cols, field, values);
}

template <RowNumber T>
absl::Status AppendVector(const density::v1::Vector& message, size_t rows, std::string_view field,
                          std::vector<T>& values) {
  return AppendNumbers(message, rows, field, values);
}

template density::v1::Encoding EncodingOf<float>();
template density::v1::Encoding EncodingOf<double>();
template void Encode(RowsView<float>, density::v1::Matrix*);
template void Encode(RowsView<double>, density::v1::Matrix*);
template absl::Status AppendMatrix(const density::v1::Matrix&, size_t, size_t, std::string_view, std::vector<float>&);
template absl::Status AppendMatrix(const density::v1::Matrix&, size_t, size_t, std::string_view, std::vector<double>&);
template absl::Status AppendVector(const density::v1::Vector&, size_t, std::string_view, std::vector<float>&);
template absl::Status AppendVector(const density::v1::Vector&, size_t, std::string_view, std::vector<double>&);

}  // namespace densityd::client_internal
