#include "server/training/selected_rows.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace densityd::training {

void BringIntoMemory(const void* begin, size_t bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(begin) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(begin) + bytes;
  // A hint: where it is not taken, the rows are read when they are needed.
  (void)madvise(reinterpret_cast<void*>(first), end - first, MADV_WILLNEED);
}

}  // namespace densityd::training
