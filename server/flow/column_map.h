// Maps of preprocessed columns, number by number, in float64. Free of LibTorch: fits and compiled plans use them, and
// the LibTorch transform of column_preprocessing.h is tested against them.
#pragma once

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace density::v1 {
class ColumnPreprocessing;
}  // namespace density::v1

namespace densityd::flow {

/// A column of data on its way to z: x is dequantised to y, shaped to u, and z = (u - center) / scale.
struct ColumnForm {
  enum class Shape : uint8_t {
    kLinear,      ///< u = y
    kLog,         ///< u = log(y - low)
    kYeoJohnson,  ///< see flow_spec.proto
    kLogit,       ///< u = logit((y - low) / (high - low))
    kCircle,      ///< u = y within [low, high], both ends included (rounded_ends.h)
  };
  Shape shape = Shape::kLinear;
  bool is_whole = false;      ///< y = x + 1/2, and x = floor(y)
  std::vector<double> codes;  ///< CATEGORICAL: y = 1/2 + the index of x, compared as float32
  /// Ends of the support of y; open, but for kCircle.
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  double center = 0;
  double scale = 1;
  double power = 1;
  double log_scale = 0;
  double log_width = 0;  ///< kLogit: log(high - low)
  /// What x, or the index of a category, is clamped to: within the support also as float32, so that no sample is
  /// rounded out of it.
  double smallest = -std::numeric_limits<double>::infinity();
  double largest = std::numeric_limits<double>::infinity();

  bool is_discrete() const { return is_whole || !codes.empty(); }
  /// Whether z is an affine function of x.
  bool is_affine() const { return shape == Shape::kLinear && !is_discrete(); }
};

/// The form of `column`, whose fit, where it is missing, counts as center 0, scale 1 and power 1.
ColumnForm FormOf(const density::v1::ColumnPreprocessing& column);

/// A mapped number and the logarithm of the map's slope there.
struct MappedNumber {
  double value = 0;
  double log_slope = 0;
};

/// y of x. NaN for a category that is unknown.
double Dequantize(const ColumnForm& form, double x);
/// y -> z, log dz/dy. Outside the support, and for NaN: z is 0 and the log-slope -infinity.
MappedNumber MapDequantized(const ColumnForm& form, double y);
/// x -> z; MapDequantized after Dequantize. NaN stays NaN.
MappedNumber MapToBase(const ColumnForm& form, double x);
/// z -> x within the support, log dy/dz.
MappedNumber MapToData(const ColumnForm& form, double z);

/// Ends of where x can be, where z is within [low, high]. For integers low - 1/2 … high + 1/2: the density of a number
/// between them is that of its cell's inside.
std::pair<double, double> ImageOf(const ColumnForm& form, double low, double high);

}  // namespace densityd::flow
