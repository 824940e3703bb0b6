// The NPY format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/errors.h"
#include "server/base/strings.h"
#include "server/base/table.h"

namespace densityd {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are stored little-endian and read in place");

constexpr std::string_view kMagic = "\x93NUMPY";

template <typename T>
T Load(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

template <typename T>
void Append(std::string_view bytes, std::vector<double>& values) {
  const size_t count = bytes.size() / sizeof(T);
  values.reserve(values.size() + count);
  for (size_t i = 0; i < count; ++i) values.push_back(static_cast<double>(Load<T>(bytes.data() + i * sizeof(T))));
}

struct ElementType {
  std::string_view descr;
  size_t bytes;
  void (*append)(std::string_view, std::vector<double>&);
};

constexpr ElementType kElementTypes[] = {
    {"<f4", 4, Append<float>},
    {"<f8", 8, Append<double>},
    {"<i4", 4, Append<int32_t>},
    {"<i8", 8, Append<int64_t>},
};

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<uint64_t> shape;
};

/// Reads the header: a Python dictionary literal with the three known keys. Everything else is refused.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : rest_(text) {}

  /// None where the text is not such a dictionary.
  std::optional<Header> Parse() {
    if (!Take('{')) return std::nullopt;
    while (!Take('}')) {
      std::optional<std::string> key = String();
      if (!key || !Take(':') || !Value(*key)) return std::nullopt;
      if (!Take(',') && !Peek('}')) return std::nullopt;
    }
    SkipSpace();
    if (!rest_.empty() || !has_descr_ || !has_order_ || !has_shape_) return std::nullopt;
    return header_;
  }

 private:
  bool Value(std::string_view key) {
    if (key == "descr" && !std::exchange(has_descr_, true)) return Descr();
    if (key == "fortran_order" && !std::exchange(has_order_, true)) return Order();
    if (key == "shape" && !std::exchange(has_shape_, true)) return Shape();
    return false;
  }

  bool Descr() {
    std::optional<std::string> descr = String();
    if (!descr.has_value()) return false;
    header_.descr = *std::move(descr);
    return true;
  }

  bool Order() {
    SkipSpace();
    header_.fortran_order = rest_.starts_with("True");
    if (!header_.fortran_order && !rest_.starts_with("False")) return false;
    rest_.remove_prefix(header_.fortran_order ? 4 : 5);
    return true;
  }

  bool Shape() {
    if (!Take('(')) return false;
    while (!Take(')')) {
      SkipSpace();
      const size_t digits = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
      uint64_t size;
      if (!absl::SimpleAtoi(ToAbsl(rest_.substr(0, digits)), &size)) return false;
      header_.shape.push_back(size);
      rest_.remove_prefix(digits);
      if (!Take(',') && !Peek(')')) return false;
    }
    return true;
  }

  std::optional<std::string> String() {
    SkipSpace();
    if (rest_.empty() || (rest_[0] != '\'' && rest_[0] != '"')) return std::nullopt;
    const size_t end = rest_.find(rest_[0], 1);
    if (end == std::string_view::npos) return std::nullopt;
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }

  void SkipSpace() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n"), rest_.size())); }
  bool Peek(char c) {
    SkipSpace();
    return !rest_.empty() && rest_[0] == c;
  }
  bool Take(char c) {
    const bool found = Peek(c);
    if (found) rest_.remove_prefix(1);
    return found;
  }

  std::string_view rest_;
  Header header_;
  bool has_descr_ = false;
  bool has_order_ = false;
  bool has_shape_ = false;
};

/// Splits the file into header text and data. INVALID_ARGUMENT where it is cut short.
absl::Status Split(std::string_view bytes, std::string_view source, std::string_view& header, std::string_view& data) {
  if (!bytes.starts_with(kMagic)) return InvalidArgument(source, "is no NPY file: it does not begin with \\x93NUMPY");
  if (bytes.size() < kMagic.size() + 2) return InvalidArgument(source, "is cut short inside the NPY header");
  const int version = static_cast<unsigned char>(bytes[kMagic.size()]);
  if (version != 1 && version != 2) {
    return InvalidArgument(source, absl::StrCat("has NPY version ", version, "; versions 1 and 2 are read"));
  }
  const size_t length_bytes = version == 1 ? 2 : 4;
  const size_t begin = kMagic.size() + 2 + length_bytes;
  if (bytes.size() < begin) return InvalidArgument(source, "is cut short inside the NPY header");
  const char* length_at = bytes.data() + begin - length_bytes;
  const uint64_t length = version == 1 ? Load<uint16_t>(length_at) : Load<uint32_t>(length_at);
  if (length > bytes.size() - begin) {
    return InvalidArgument(source, absl::StrCat("is cut short: its NPY header should have ", length,
                                                " bytes, of which ", bytes.size() - begin, " are there"));
  }
  header = bytes.substr(begin, length);
  data = bytes.substr(begin + length);
  return absl::OkStatus();
}

absl::StatusOr<const ElementType*> FindElementType(std::string_view descr, std::string_view source) {
  for (const ElementType& type : kElementTypes) {
    if (type.descr == descr) return &type;
  }
  return InvalidArgument(source, absl::StrCat("has elements of type ", Quote(descr),
                                              "; save little-endian float32, float64, int32 or int64, for example with "
                                              "array.astype('<f8')"));
}

/// Rows and columns of `header`, whose numbers could fill a file.
absl::Status ReadShape(const Header& header, std::string_view source, NpyLayout& layout) {
  const std::string shape = absl::StrCat("(", absl::StrJoin(header.shape, ", "), ")");
  if (header.shape.empty() || header.shape.size() > 2) {
    return InvalidArgument(source, absl::StrCat("has shape ", shape, "; one or two dimensions are needed"));
  }
  layout.rows = header.shape[0];
  layout.cols = header.shape.size() == 2 ? header.shape[1] : 1;
  if (layout.rows == 0 || layout.cols == 0) {
    return InvalidArgument(source, absl::StrCat("has shape ", shape, ": no rows"));
  }
  const uint64_t most = std::numeric_limits<uint64_t>::max();
  if (layout.cols > most / layout.number_bytes || layout.rows > most / (layout.cols * layout.number_bytes)) {
    return InvalidArgument(source, absl::StrCat("has shape ", shape, ", more than any file can hold"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NpyLayout> ParseNpyHeader(std::string_view begin, std::string_view source) {
  std::string_view header_text;
  std::string_view data;
  if (absl::Status status = Split(begin, source, header_text, data); !status.ok()) return status;
  const std::optional<Header> header = HeaderParser(header_text).Parse();
  if (!header) {
    return InvalidArgument(source, absl::StrCat("has an NPY header that is not understood (structured arrays are not "
                                                "read): ",
                                                Quote(header_text)));
  }
  const absl::StatusOr<const ElementType*> type = FindElementType(header->descr, source);
  if (!type.ok()) return type.status();
  if (header->fortran_order) {
    return InvalidArgument(source, "is stored in Fortran order; save numpy.ascontiguousarray(array)");
  }
  NpyLayout layout;
  layout.type = (*type)->descr;
  layout.number_bytes = (*type)->bytes;
  layout.data_offset = begin.size() - data.size();
  if (absl::Status status = ReadShape(*header, source, layout); !status.ok()) return status;
  return layout;
}

void AppendNpyNumbers(const NpyLayout& layout, std::string_view bytes, std::vector<double>& values) {
  for (const ElementType& type : kElementTypes) {
    if (type.descr == layout.type) type.append(bytes, values);
  }
}

absl::StatusOr<Table> ParseNpy(std::string_view bytes, std::string_view source) {
  const absl::StatusOr<NpyLayout> layout = ParseNpyHeader(bytes, source);
  if (!layout.ok()) return layout.status();
  const std::string_view data = bytes.substr(layout->data_offset);
  const uint64_t expected = layout->rows * layout->cols * layout->number_bytes;
  if (expected != data.size()) {
    return InvalidArgument(source, absl::StrCat(expected > data.size() ? "is cut short" : "has bytes after its end",
                                                ": shape (", layout->rows, ", ", layout->cols, ") needs ", expected,
                                                " bytes of data; there are ", data.size()));
  }
  Table table = {.rows = layout->rows, .cols = layout->cols, .columns = {}, .values = {}};
  AppendNpyNumbers(*layout, data, table.values);
  return table;
}

std::string FormatNpyHeader(uint64_t rows, uint64_t cols) {
  std::string header = absl::StrCat("{'descr': '<f8', 'fortran_order': False, 'shape': (", rows, ", ", cols, "), }");
  // Enough for the largest shape, and a multiple of 64 bytes.
  constexpr size_t kBefore = 10;
  constexpr size_t kAll = 128;
  header.append(kAll - 1 - kBefore - header.size(), ' ');
  header.push_back('\n');
  std::string out(kMagic);
  out.append({'\x01', '\x00', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)});
  return out + header;
}

std::string FormatNpy(const Table& table) {
  std::string out = FormatNpyHeader(table.rows, table.cols);
  out.append(reinterpret_cast<const char*>(table.values.data()), table.values.size() * sizeof(double));
  return out;
}

absl::StatusOr<Table> ParseTable(std::string_view bytes, std::string_view source) {
  return bytes.starts_with(kMagic.substr(0, 1)) ? ParseNpy(bytes, source) : ParseCsv(bytes, source);
}

}  // namespace densityd
