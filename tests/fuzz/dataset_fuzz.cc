// Files of rows, as they are, and with checksums that fit, which no fuzzer guesses.
#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "server/base/sha256.h"
#include "server/training/dataset_file.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/one_file.h"

namespace densityd::fuzz {
namespace {

constexpr size_t kHeaderBytes = 16;
constexpr size_t kPrefixBytes = 8;
constexpr size_t kChecksumBytes = 64;

uint64_t LittleEndian(std::string_view bytes) {
  uint64_t number = 0;
  std::memcpy(&number, bytes.data(), std::min<size_t>(bytes.size(), 8));
  return number;
}

/// Puts the right checksum into every chunk that lies within `bytes`.
std::string WithChecksums(std::string bytes) {
  if (bytes.size() < kHeaderBytes) return bytes;
  const std::string header = bytes.substr(0, kHeaderBytes);
  const uint64_t cols = LittleEndian(std::string_view(bytes).substr(8, 8));
  size_t position = kHeaderBytes;
  for (uint64_t index = 0; bytes.size() - position >= kPrefixBytes + kChecksumBytes; ++index) {
    const std::string prefix = bytes.substr(position, kPrefixBytes);
    const uint64_t type = LittleEndian(std::string_view(prefix).substr(0, 4));
    const uint64_t rows = LittleEndian(std::string_view(prefix).substr(4, 4));
    const size_t begin = position + kPrefixBytes + kChecksumBytes;
    if (cols > training::kMaxDatasetColumns || type > 8 || rows * cols * type > bytes.size() - begin) return bytes;
    const size_t size = rows * cols * type;
    Sha256 hash;
    hash.Update(header);
    hash.Update(std::string_view(reinterpret_cast<const char*>(&index), sizeof(index)));
    hash.Update(prefix);
    hash.Update(std::string_view(bytes).substr(begin, size));
    bytes.replace(position + kPrefixBytes, kChecksumBytes, hash.HexDigest());
    position = begin + size;
  }
  return bytes;
}

void CheckRead(std::string content) {
  const size_t size = content.size();
  OneFile files(std::move(content));
  const auto rows = training::OpenDatasetFile(files, "input");
  if (!rows.ok()) {
    FUZZ_CHECK(IsTold(rows.status(), absl::StatusCode::kDataLoss));
    return;
  }
  size_t numbers = 0;
  const absl::Status status = (*rows)->Read([&](absl::Span<const double> block) {
    FUZZ_CHECK(!block.empty() && block.size() % (*rows)->cols() == 0);
    numbers += block.size();
    return absl::OkStatus();
  });
  if (!status.ok()) {
    FUZZ_CHECK(IsTold(status, absl::StatusCode::kDataLoss));
    return;
  }
  FUZZ_CHECK(numbers == (*rows)->rows() * (*rows)->cols());
  FUZZ_CHECK(numbers * 4 <= size);
}

}  // namespace
}  // namespace densityd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  densityd::fuzz::CheckRead(bytes);
  densityd::fuzz::CheckRead(densityd::fuzz::WithChecksums(bytes));
  return 0;
}
