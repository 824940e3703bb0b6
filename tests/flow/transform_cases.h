// The flows that the properties of transform_test.cc are checked for: every kind of layer in every option.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// Where a column of data lives.
enum class Support : uint8_t {
  kReal,
  kModerate,  ///< any number that exp and sigmoid do not saturate at
  kPositive,
  kUnit,       ///< (0, 1)
  kSymmetric,  ///< (-1, 1)
  kWhole,      ///< integers
  kCount,      ///< integers >= 0
  kDigit,      ///< integers 0 … 9
  kCode,       ///< one of Codes()
  kTurn,       ///< [0, 360]
};

struct TransformCase {
  std::string name;
  std::string layers;  ///< and base, image and encoding of the context: all but the numbers of columns
  int64_t features = 4;
  int64_t context = 0;
  Support support = Support::kReal;
  bool starts_as_identity = true;
  /// How much more than other maps this one may lose in float32.
  double float32_factor = 1;

  /// Whether x is discrete: samples are rounded.
  bool rounds() const { return support >= Support::kWhole && support <= Support::kCode; }
};

inline void PrintTo(const TransformCase& test_case, std::ostream* out) { *out << test_case.name; }

std::vector<TransformCase> TransformCases();

density::v1::FlowSpec SpecOf(const TransformCase& test_case);

/// The categories of Support::kCode.
const std::vector<double>& Codes();

/// Numbers at the edges of `support`, and far out.
std::vector<double> Extremes(Support support);

}  // namespace densityd::flow
