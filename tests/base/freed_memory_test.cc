#include "server/base/freed_memory.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <thread>
#include <vector>

namespace densityd {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(DENSITYD_SANITIZE_THREAD)
constexpr bool kAllocatorIsGlibcs = false;
#else
constexpr bool kAllocatorIsGlibcs = true;
#endif

using Blocks = std::vector<std::vector<char>>;

int64_t ResidentBytes() {
  int64_t pages = 0;
  int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// As models come and go: made by a thread that ends, freed by another one.
TEST(GivingMemoryBack, LeavesNothingOfWhatThreadsThatHaveEndedHadMade) {
  if (!kAllocatorIsGlibcs) GTEST_SKIP() << "sanitizers have an allocator of their own";
  KeepFreedMemory();
  const int64_t before = ResidentBytes();
  constexpr int64_t kBlocks = 64;
  constexpr int64_t kBlockBytes = 512 << 10;
  for (int round = 0; round < 5; ++round) {
    Blocks blocks;
    std::thread([&] {
      for (int i = 0; i < kBlocks; ++i) blocks.emplace_back(kBlockBytes, 'x');
    }).join();
    EXPECT_GT(ResidentBytes() - before, kBlocks * kBlockBytes / 2);
    {
      const GivingMemoryBack back;
      blocks.clear();
      malloc_trim(0);
    }
    EXPECT_LT(ResidentBytes() - before, kBlocks * kBlockBytes / 4) << round;
  }
}

}  // namespace
}  // namespace densityd
