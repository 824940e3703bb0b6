// Files of stored models that were changed by damage or malice, thousands of them: an error that names the file, or the
// weights that were stored; and never more memory than twice the file. In a program of its own: it replaces operator
// new.
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/sha256.h"
#include "server/registry/model_store.h"
#include "tests/base/temp_folder.h"
#include "tests/registry/sample_version.h"

namespace {

std::atomic<size_t> live_bytes = 0;
std::atomic<size_t> peak_bytes = 0;

}  // namespace

// Not inlined: the compiler would take malloc and free for a mismatch with new and delete.
[[gnu::noinline]] void* operator new(size_t bytes) {
  void* const memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  const size_t live = live_bytes += malloc_usable_size(memory);
  size_t peak = peak_bytes;
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live)) {
  }
  return memory;
}
/// For buffers that the standard library does without where memory is short.
[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return operator new(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  live_bytes -= malloc_usable_size(memory);
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

namespace densityd::registry {
namespace {

using densityd::testing::ReadFile;
using densityd::testing::TempFolder;
using densityd::testing::WriteFile;
using ::testing::HasSubstr;

/// What a message, a manifest and a path need, whatever the weights.
constexpr size_t kFixedBytes = 256 << 10;

int Mutations() {
  const char* count = std::getenv("DENSITYD_MUTATIONS");
  return count == nullptr ? 2000 : std::atoi(count);
}

class ModelFileMutationsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::vector<Tensor> tensors = testing::SampleTensors();
    tensors.push_back({"layers.1.weight", DType::kF32, {1 << 16}, std::string(4 << 16, 'w')});
    ASSERT_TRUE(store_.Publish("power", testing::SampleManifest(), tensors).ok());
    const auto stored = store_.Read("power", 1);
    ASSERT_TRUE(stored.ok()) << stored.status();
    for (const Tensor& tensor : stored->tensors) good_.push_back(tensor.name + tensor.data);
    weights_ = ReadFile(Path(kWeights));
    manifest_ = ReadFile(Path("manifest.json"));
  }

  std::string Path(const std::string& file) const { return folder_.Path("models/power/1/" + file); }
  size_t Below(size_t bound) { return random_() % bound; }

  /// Flips, cuts, splices, repeats, or puts an extreme number where digits stand.
  std::string Mutated(std::string bytes) {
    const size_t at = Below(bytes.size());
    const size_t length = 1 + Below(std::min<size_t>(bytes.size() - at, 200));
    static constexpr const char* kNumbers[] = {"18446744073709551615", "1152921504606846976", "-1", "0", "1e300"};
    switch (Below(6)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << Below(8)));
        return bytes;
      case 1:
        return bytes.substr(0, at);
      case 2:
        return bytes.erase(at, length);
      case 3:
        return bytes.insert(at, bytes.substr(Below(bytes.size()), length));
      case 4:
        return bytes + std::string(length, 'x');
      default: {
        const size_t digit = std::min(bytes.find_first_of("0123456789", Below(600)), bytes.size() - 1);
        return bytes.replace(digit, 1, kNumbers[Below(std::size(kNumbers))]);
      }
    }
  }

  /// Writes weights and a manifest that says they are right, as who means harm would.
  void WriteConsistent(const std::string& weights, std::string manifest) {
    WriteFile(Path(kWeights), weights);
    const std::string digest = Sha256Hex(weights_);
    const size_t at = manifest.find(digest);
    if (at != std::string::npos) manifest.replace(at, digest.size(), Sha256Hex(weights));
    const std::string size = absl::StrCat("\"", weights_.size(), "\"");
    const size_t size_at = manifest.find(size);
    if (size_at != std::string::npos) manifest.replace(size_at, size.size(), absl::StrCat("\"", weights.size(), "\""));
    WriteFile(Path("manifest.json"), manifest);
    WriteFile(Path("manifest.sha256"), Sha256Hex(manifest) + "  manifest.json\n");
  }

  absl::StatusOr<StoredVersion> ReadWithinMemory() {
    const size_t files = weights_.size() + manifest_.size();
    const size_t before = live_bytes;
    peak_bytes = before;
    auto stored = store_.Read("power", 1);
    EXPECT_LE(peak_bytes - before, 2 * files + kFixedBytes);
    return stored;
  }

  static constexpr char kWeights[] = "weights.safetensors";
  TempFolder folder_;
  ModelStore store_ = testing::OpenStore(FileSystem::Real(), folder_.path());
  std::vector<std::string> good_;
  std::string weights_;
  std::string manifest_;
  std::mt19937_64 random_{1};
};

TEST_F(ModelFileMutationsTest, DamageIsDataLossThatNamesTheFile) {
  for (int i = 0; i < Mutations() / 2; ++i) {
    const bool weights = Below(2) == 0;
    const std::string good = weights ? weights_ : manifest_;
    const std::string bad = Mutated(good);
    WriteFile(Path(weights ? kWeights : "manifest.json"), bad);
    const auto stored = ReadWithinMemory();
    if (bad != good) {
      ASSERT_EQ(stored.status().code(), absl::StatusCode::kDataLoss) << i << ": " << stored.status();
      EXPECT_THAT(std::string(stored.status().message()), HasSubstr("models/power/1/"));
    }
    WriteFile(Path(weights ? kWeights : "manifest.json"), good);
  }
  EXPECT_TRUE(store_.Read("power", 1).ok());
}

TEST_F(ModelFileMutationsTest, HostileFilesWhoseDigestsFitTakeNoMemoryAndGiveNoTensorThatIsNotThere) {
  int read = 0;
  for (int i = 0; i < Mutations() / 2; ++i) {
    const bool weights = Below(2) == 0;
    WriteConsistent(weights ? Mutated(weights_.substr(0, 700)) + weights_.substr(700) : weights_,
                    weights ? manifest_ : Mutated(manifest_));
    const auto stored = ReadWithinMemory();
    if (!stored.ok()) {
      const absl::StatusCode code = stored.status().code();
      EXPECT_TRUE(code == absl::StatusCode::kDataLoss || code == absl::StatusCode::kFailedPrecondition)
          << i << ": " << stored.status();
      continue;
    }
    ++read;
    for (const Tensor& tensor : stored->tensors) {
      EXPECT_EQ(tensor.data.size(), TensorBytes(tensor.dtype, tensor.shape));
    }
  }
  EXPECT_GT(read, 0) << "no mutation got as far as the tensors";
}

}  // namespace
}  // namespace densityd::registry
