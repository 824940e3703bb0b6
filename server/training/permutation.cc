#include "server/training/permutation.h"

#include <numeric>
#include <utility>

#include "server/engine/philox.h"

namespace densityd::training {

std::vector<int64_t> SeededPermutation(uint64_t seed, uint64_t stream, size_t count) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), int64_t{0});
  // Fisher and Yates' shuffle; one Philox block decides one exchange. The high word of a 64 x 64 bit product is uniform
  // on 0 … i up to a bias of count / 2^64.
  for (size_t i = count; i > 1; --i) {
    const engine::PhiloxBlock bits =
        engine::Philox4x32({{static_cast<uint32_t>(i), static_cast<uint32_t>(static_cast<uint64_t>(i) >> 32),
                             static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)}},
                           seed);
    const uint64_t number = uint64_t{bits.word[1]} << 32 | bits.word[0];
    const auto other = static_cast<size_t>((static_cast<unsigned __int128>(number) * i) >> 64);
    std::swap(order[i - 1], order[other]);
  }
  return order;
}

}  // namespace densityd::training
