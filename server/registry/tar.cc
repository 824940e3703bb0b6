#include "server/registry/tar.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/base/errors.h"
#include "server/base/strings.h"

namespace densityd::registry {
namespace {

/// A field of the header: POSIX.1-1988, "ustar".
struct Field {
  size_t offset;
  size_t bytes;
};

constexpr Field kName = {0, 100};
constexpr Field kMode = {100, 8};
constexpr Field kOwner = {108, 8};
constexpr Field kGroup = {116, 8};
constexpr Field kSize = {124, 12};
constexpr Field kTime = {136, 12};
constexpr Field kChecksum = {148, 8};
constexpr Field kType = {156, 1};
constexpr Field kMagic = {257, 8};
constexpr Field kPrefix = {345, 155};
constexpr int kZeroBlocksAtEnd = 2;
/// Sizes above what eleven octal digits hold are big-endian numbers, marked by the highest bit, as GNU tar writes them.
constexpr uint64_t kLargestOctal = (uint64_t{1} << 33) - 1;

std::string_view Get(std::string_view block, Field field) { return block.substr(field.offset, field.bytes); }

void Put(std::string& block, Field field, std::string_view text) {
  text.copy(block.data() + field.offset, field.bytes);
}

void PutOctal(std::string& block, Field field, uint64_t number) {
  Put(block, field, absl::StrFormat("%0*o", static_cast<int>(field.bytes - 1), number));
}

void PutSize(std::string& block, uint64_t size) {
  if (size <= kLargestOctal) return PutOctal(block, kSize, size);
  block[kSize.offset] = '\x80';
  for (size_t i = 0; i < sizeof(size); ++i) {
    block[kSize.offset + kSize.bytes - 1 - i] = static_cast<char>(size >> (8 * i));
  }
}

std::optional<uint64_t> ParseOctal(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\0')) text.remove_suffix(1);
  if (text.empty()) return std::nullopt;
  uint64_t number = 0;
  for (const char c : text) {
    if (c < '0' || c > '7') return std::nullopt;
    number = number * 8 + static_cast<uint64_t>(c - '0');
  }
  return number;
}

std::optional<uint64_t> ParseSize(std::string_view field) {
  if (field.front() != '\x80') return ParseOctal(field);
  // What lies above 64 bits is zero in every file of this world.
  if (field.substr(1, 3).find_first_not_of('\0') != std::string_view::npos) return std::nullopt;
  uint64_t size = 0;
  for (const char c : field.substr(4)) size = size << 8 | static_cast<unsigned char>(c);
  // A tar's own arithmetic in signed numbers must not overflow.
  return size <= uint64_t{1} << 62 ? std::optional<uint64_t>(size) : std::nullopt;
}

uint64_t ChecksumOf(std::string_view block) {
  uint64_t sum = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    const bool own = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.bytes;
    sum += own ? ' ' : static_cast<unsigned char>(block[i]);
  }
  return sum;
}

bool IsZero(std::string_view bytes) { return bytes.find_first_not_of('\0') == std::string_view::npos; }

uint64_t PaddingOf(uint64_t size) { return (kTarBlock - size % kTarBlock) % kTarBlock; }

absl::Status Bad(const std::string& problem) { return InvalidArgument("archive", problem); }

}  // namespace

std::string TarHeader(std::string_view name, uint64_t size) {
  std::string block(kTarBlock, '\0');
  Put(block, kName, name);
  PutOctal(block, kMode, 0640);
  PutOctal(block, kOwner, 0);
  PutOctal(block, kGroup, 0);
  PutSize(block, size);
  PutOctal(block, kTime, 0);
  Put(block, kType, "0");
  Put(block, kMagic,
      std::string_view("ustar\0"
                       "00",
                       8));
  Put(block, kChecksum, absl::StrFormat("%06o", ChecksumOf(block)));
  Put(block, {kChecksum.offset + 6, 2}, std::string_view("\0 ", 2));
  return block;
}

std::string TarPadding(uint64_t size) { return std::string(PaddingOf(size), '\0'); }

std::string TarEnd() { return std::string(kZeroBlocksAtEnd * kTarBlock, '\0'); }

absl::Status TarReader::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    size_t taken = 0;
    absl::Status status;
    switch (state_) {
      case State::kHeader:
        taken = std::min(bytes.size(), kTarBlock - block_.size());
        block_.append(bytes.substr(0, taken));
        if (block_.size() == kTarBlock) status = ReadHeader();
        break;
      case State::kData:
        taken = static_cast<size_t>(std::min<uint64_t>(bytes.size(), left_));
        status = sink_.data(bytes.substr(0, taken));
        left_ -= taken;
        if (status.ok() && left_ == 0) status = EndMember();
        break;
      case State::kPadding:
        taken = static_cast<size_t>(std::min<uint64_t>(bytes.size(), padding_));
        if (!IsZero(bytes.substr(0, taken))) status = Bad(absl::StrCat("has no zeros behind ", Quote(name_)));
        padding_ -= taken;
        if (padding_ == 0) state_ = State::kHeader;
        break;
      case State::kEnd:
        taken = bytes.size();
        if (!IsZero(bytes)) status = Bad("goes on behind its end");
        break;
    }
    if (!status.ok()) return status;
    bytes.remove_prefix(taken);
  }
  return absl::OkStatus();
}

absl::Status TarReader::ReadHeader() {
  const std::string block = std::exchange(block_, std::string());
  if (IsZero(block)) {
    if (++zero_blocks_ == kZeroBlocksAtEnd) state_ = State::kEnd;
    return absl::OkStatus();
  }
  if (zero_blocks_ > 0) return Bad("goes on behind its end");
  if (Get(block, kMagic).substr(0, 5) != "ustar" || ParseOctal(Get(block, kChecksum)) != ChecksumOf(block)) {
    return Bad("is no tar archive, or is damaged: a header is wrong");
  }
  const std::string_view name = Get(block, kName);
  name_ = std::string(name.substr(0, name.find('\0')));
  const char type = Get(block, kType).front();
  if ((type != '0' && type != '\0') || name_.empty() || !IsZero(Get(block, kPrefix))) {
    return Bad(absl::StrCat("has ", Quote(name_), ", which is no plain file"));
  }
  const std::optional<uint64_t> size = ParseSize(Get(block, kSize));
  if (!size) return Bad(absl::StrCat("has ", Quote(name_), " with a size that is no number"));
  left_ = *size;
  padding_ = PaddingOf(*size);
  if (absl::Status status = sink_.begin(name_, *size); !status.ok()) return status;
  state_ = State::kData;
  return left_ == 0 ? EndMember() : absl::OkStatus();
}

absl::Status TarReader::EndMember() {
  state_ = padding_ > 0 ? State::kPadding : State::kHeader;
  return sink_.end();
}

absl::Status TarReader::Finish() const {
  if (state_ == State::kEnd) return absl::OkStatus();
  if (state_ == State::kHeader && block_.empty()) return Bad("is cut off before its end");
  return Bad(absl::StrCat("is cut off in or behind ", Quote(name_)));
}

}  // namespace densityd::registry
