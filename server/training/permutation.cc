#include "server/training/permutation.h"

#include <cmath>

#include "server/engine/philox.h"

namespace densityd::training {
namespace {

// A number below `bound` that looks random, of `number`: Stafford's variant 13 of the finaliser of splitmix64.
uint64_t Scatter(uint64_t key, uint64_t number, uint64_t bound) {
  uint64_t bits = key ^ (number * 0x9E3779B97F4A7C15);
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB;
  bits ^= bits >> 31;
  // The high word of the product is uniform on 0 … bound - 1 up to a bias of bound / 2^64.
  return static_cast<uint64_t>((static_cast<unsigned __int128>(bits) * bound) >> 64);
}

}  // namespace

Permutation::Permutation(uint64_t seed, uint64_t stream, uint64_t part, uint64_t count) : count_(count) {
  left_ = static_cast<uint64_t>(std::ceil(std::sqrt(static_cast<double>(count))));
  right_ = (count + left_ - 1) / left_;
  // Keys of the rounds: of a number that stands for stream and part, two of each block.
  const engine::PhiloxBlock name =
      engine::Philox4x32({{static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32),
                           static_cast<uint32_t>(part), static_cast<uint32_t>(part >> 32)}},
                         seed);
  const uint64_t own_seed = uint64_t{name.word[1]} << 32 | name.word[0];
  for (uint32_t round = 0; round < kRounds; round += 2) {
    const engine::PhiloxBlock bits = engine::Philox4x32({{round, 0, name.word[2], name.word[3]}}, own_seed);
    keys_[round] = uint64_t{bits.word[1]} << 32 | bits.word[0];
    keys_[round + 1] = uint64_t{bits.word[3]} << 32 | bits.word[2];
  }
}

uint64_t Permutation::operator()(uint64_t place) const {
  // What lies beyond the last number is sent on, until it is within: once in left_ times at most.
  do {
    uint64_t left = place / right_;
    uint64_t right = place % right_;
    for (int round = 0; round < kRounds; round += 2) {
      left += Scatter(keys_[round], right, left_);
      if (left >= left_) left -= left_;
      right += Scatter(keys_[round + 1], left, right_);
      if (right >= right_) right -= right_;
    }
    place = left * right_ + right;
  } while (place >= count_);
  return place;
}

}  // namespace densityd::training
