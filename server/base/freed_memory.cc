#include "server/base/freed_memory.h"

#include <malloc.h>

#include <cstdlib>
#include <limits>

#include "absl/base/const_init.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace densityd {
namespace {

constexpr int kKeptTop = 64 << 20;
constexpr int kMappedAlone = 1 << 30;
/// Blocks from this size on are mapped by themselves, and so go back as soon as they are freed, while memory is given
/// back: what a model is made of is larger.
constexpr int kReturnedAlone = 1 << 20;
/// More than this at the end of an arena goes back, while memory is given back.
constexpr int kReturnedTop = 128 << 10;
/// glibc looks at the end of an arena when a block of at least 64 KiB is freed in it.
constexpr size_t kLargeBlock = 256 << 10;

ABSL_CONST_INIT absl::Mutex mutex(absl::kConstInit);
bool keeps ABSL_GUARDED_BY(mutex) = false;
int givers ABSL_GUARDED_BY(mutex) = 0;

void Keep() {
  mallopt(M_MMAP_THRESHOLD, kMappedAlone);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, kKeptTop);
}

void Return() {
  mallopt(M_MMAP_THRESHOLD, kReturnedAlone);
  mallopt(M_TRIM_THRESHOLD, kReturnedTop);
  mallopt(M_TOP_PAD, 0);
}

}  // namespace

void KeepFreedMemory() {
  absl::MutexLock lock(&mutex);
  keeps = true;
  Keep();
}

void ReturnFreedMemory() { malloc_trim(0); }

GivingMemoryBack::GivingMemoryBack() {
  absl::MutexLock lock(&mutex);
  if (givers++ == 0 && keeps) Return();
}

GivingMemoryBack::~GivingMemoryBack() {
  // A compiler may drop a block that nobody looks at.
  void* volatile block = std::malloc(kLargeBlock);
  std::free(block);
  absl::MutexLock lock(&mutex);
  if (--givers == 0 && keeps) Keep();
}

}  // namespace densityd
