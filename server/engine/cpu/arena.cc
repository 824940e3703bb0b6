#include "server/engine/cpu/arena.h"

#include <cstring>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace densityd::engine::cpu {
namespace {

constexpr size_t kLineBytes = 64;
constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

Arena::Arena(size_t count) {
  // A huge page is worth its rounding only where the weights fill most of one.
  const size_t bytes = count * sizeof(float);
  const size_t alignment = bytes >= kHugePage ? kHugePage : kLineBytes;
  bytes_ = (bytes + alignment - 1) / alignment * alignment;
  if (bytes_ == 0) return;
  memory_.reset(static_cast<float*>(std::aligned_alloc(alignment, bytes_)));
  if (memory_ == nullptr) return;
#ifdef __linux__
  if (alignment == kHugePage) madvise(memory_.get(), bytes_, MADV_HUGEPAGE);  // advice: a refusal costs speed alone
#endif
  std::memset(memory_.get(), 0, bytes_);
}

}  // namespace densityd::engine::cpu
