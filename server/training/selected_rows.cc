#include "server/training/selected_rows.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

namespace densityd::training {

namespace {

/// A hint about the pages that bytes lie in: where it is not taken, they are read when they are needed.
void Advise(const char* begin, size_t bytes, int advice) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(begin) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(begin) + bytes;
  (void)madvise(reinterpret_cast<void*>(first), end - first, advice);
}

}  // namespace

RowsOnDisk::RowsOnDisk(const void* begin, size_t rows, size_t row_bytes)
    : begin_(static_cast<const char*>(begin)), rows_(rows), row_bytes_(row_bytes) {}

void RowsOnDisk::Expect(absl::Span<const RowRange> ranges) {
  if (ranges.empty()) return;
  if (!std::exchange(are_read_anywhere_, true)) Advise(begin_, rows_ * row_bytes_, MADV_RANDOM);
  for (const RowRange& range : ranges)
    Advise(begin_ + range.begin * row_bytes_, range.count * row_bytes_, MADV_WILLNEED);
}

}  // namespace densityd::training
