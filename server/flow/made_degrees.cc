#include "server/flow/made_degrees.h"

#include <algorithm>

namespace densityd::flow {

std::vector<int64_t> InputDegrees(const Columns& order, int64_t context_features) {
  std::vector<int64_t> degrees(order.size() + context_features, 0);
  for (size_t i = 0; i < order.size(); ++i) degrees[order[i]] = static_cast<int64_t>(i) + 1;
  return degrees;
}

std::vector<int64_t> HiddenDegrees(int64_t width, int64_t features, bool has_context) {
  const int64_t lowest = has_context || features == 1 ? 0 : 1;
  const int64_t count = features - lowest;
  std::vector<int64_t> degrees(width);
  for (int64_t unit = 0; unit < width; ++unit) {
    // Fewer units than degrees: the lowest and the highest degree are among those that are kept.
    const int64_t step = width >= count ? unit * count / width : unit * (count - 1) / std::max<int64_t>(width - 1, 1);
    degrees[unit] = lowest + step;
  }
  return degrees;
}

std::vector<int64_t> OutputDegrees(const Columns& order, int64_t parameters) {
  std::vector<int64_t> degrees(order.size() * parameters);
  for (size_t i = 0; i < order.size(); ++i) {
    std::fill_n(degrees.begin() + order[i] * parameters, parameters, static_cast<int64_t>(i));
  }
  return degrees;
}

}  // namespace densityd::flow
