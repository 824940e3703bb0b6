#include "server/engine/train/layout.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "server/base/errors.h"

namespace densityd::engine::train {
namespace {

constexpr size_t kLine = 16;  // numbers of a cache line
constexpr size_t kMostOfRange = 8192;

size_t RoundUp(size_t count) { return (count + kLine - 1) / kLine * kLine; }

template <typename Number>
void Scatter(const registry::Tensor& tensor, const TensorPlace& place, float* values) {
  for (size_t i = 0; i < place.where.size(); ++i) {
    Number number;
    std::memcpy(&number, tensor.data.data() + i * sizeof(Number), sizeof(Number));
    if (place.where[i] != kNowhere) values[place.where[i]] = static_cast<float>(number);
  }
}

}  // namespace

Position Layout::Reserve(size_t count) {
  const auto begin = static_cast<Position>(size_);
  size_ += RoundUp(count);
  return begin;
}

void Layout::MarkLearnt(Position begin, size_t count) {
  const size_t end = begin + RoundUp(count);
  for (size_t next = begin; next < end; next += kMostOfRange) {
    ranges_.push_back({next, std::min(kMostOfRange, end - next)});
  }
}

std::string Layout::TensorAt(size_t position) const {
  for (const TensorPlace& place : tensors_) {
    if (std::find(place.where.begin(), place.where.end(), position) != place.where.end()) return place.name;
  }
  return "";
}

absl::Status Layout::Load(absl::Span<const registry::Tensor> tensors, float* values) const {
  for (const TensorPlace& place : tensors_) {
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const registry::Tensor& tensor) { return tensor.name == place.name; });
    if (found == tensors.end()) return DataLoss("weights", place.name, "is missing");
    if (found->shape != place.shape) return DataLoss("weights", place.name, "is of another flow: it has another shape");
    if (found->dtype == registry::DType::kF32) {
      Scatter<float>(*found, place, values);
    } else if (found->dtype == registry::DType::kF64) {
      Scatter<double>(*found, place, values);
    } else {
      return DataLoss("weights", place.name, "does not hold floating-point numbers");
    }
  }
  return absl::OkStatus();
}

std::vector<registry::Tensor> Layout::Store(const float* values) const {
  std::vector<registry::Tensor> stored;
  for (const TensorPlace& place : tensors_) {
    std::vector<float> numbers(place.where.size());
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = place.where[i] == kNowhere ? 0 : values[place.where[i]];
    registry::Tensor tensor;
    tensor.name = place.name;
    tensor.dtype = registry::DType::kF32;
    tensor.shape = place.shape;
    tensor.data.assign(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float));
    stored.push_back(std::move(tensor));
  }
  return stored;
}

}  // namespace densityd::engine::train
