#include "server/flow/column_map.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/rounded_ends.h"

namespace densityd::flow {
namespace {

using density::v1::ColumnPreprocessing;
using Shape = ColumnForm::Shape;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// Takes the place of the power 0: expm1(p a) / p and log1p(p a) / p are then a, to the last digit.
constexpr double kSmallestPower = 1e-100;

constexpr MappedNumber kOutside = {0, -kInfinity};

float FloatAbove(double low) {
  auto number = static_cast<float>(low);
  while (!(number > low)) number = std::nextafterf(number, std::numeric_limits<float>::infinity());
  // No denormal numbers, which some processors take for 0.
  return std::abs(number) < std::numeric_limits<float>::min() ? std::numeric_limits<float>::min() : number;
}

double Softplus(double a) { return std::fmax(a, 0) + std::log1p(std::exp(-std::abs(a))); }

/// The power that applies to numbers of the sign of `a`.
double PowerAt(double a, double power) { return std::max(a < 0 ? 2 - power : power, kSmallestPower); }

MappedNumber YeoJohnson(double y, double power) {
  const double own = PowerAt(y, power);
  const double log = std::log1p(std::abs(y));
  return {std::copysign(std::expm1(own * log) / own, y), (own - 1) * log};
}

/// The same map from u; the log-slope is still du/dy.
MappedNumber InverseYeoJohnson(double u, double power) {
  const double own = PowerAt(u, power);
  const double log = std::log1p(own * std::abs(u)) / own;
  return {std::copysign(std::expm1(log), u), (own - 1) * log};
}

/// y -> u, log du/dy.
MappedNumber ShapeNumber(const ColumnForm& form, double y) {
  switch (form.shape) {
    case Shape::kLog: {
      if (!(y > form.low)) return kOutside;
      const double u = std::log(y - form.low);
      return {u, -u};
    }
    case Shape::kYeoJohnson:
      return YeoJohnson(y, form.power);
    case Shape::kLogit: {
      if (!(y > form.low && y < form.high)) return kOutside;
      const double below = std::log(y - form.low);
      const double above = std::log(form.high - y);
      return {below - above, form.log_width - below - above};
    }
    case Shape::kCircle:
      if (!IsWithin(y, form.low, form.high)) return kOutside;
      return {WithinEnds(y, form.low, form.high), 0};
    case Shape::kLinear:
      break;
  }
  return {y, 0};
}

/// u -> y, log dy/du.
MappedNumber UnshapeNumber(const ColumnForm& form, double u) {
  switch (form.shape) {
    case Shape::kLog:
      return {form.low + std::exp(u), u};
    case Shape::kYeoJohnson: {
      const MappedNumber mapped = InverseYeoJohnson(u, form.power);
      return {mapped.value, -mapped.log_slope};
    }
    case Shape::kLogit: {
      const double width = form.high - form.low;
      const double share = width / (1 + std::exp(std::abs(u)));
      return {u < 0 ? form.low + share : form.high - share, form.log_width - Softplus(u) - Softplus(-u)};
    }
    default:
      return {u, 0};
  }
}

/// x of y; NaN of NaN.
double Quantize(const ColumnForm& form, double y) {
  if (std::isnan(y)) return y;
  if (!form.codes.empty()) {
    return form.codes[static_cast<size_t>(std::clamp(std::floor(y), form.smallest, form.largest))];
  }
  return std::clamp(form.is_whole ? std::floor(y) : y, form.smallest, form.largest);
}

void AddSupport(const ColumnPreprocessing& column, ColumnForm& form) {
  if (form.shape == Shape::kLog || form.shape == Shape::kLogit) form.low = column.low();
  if (form.shape == Shape::kLogit) form.high = column.high() + (form.is_whole ? 1 : 0);
  if (!form.codes.empty()) {
    form.low = 0;
    form.high = static_cast<double>(form.codes.size());
  }
  if (form.is_discrete()) {
    form.smallest = std::max<double>(form.low, std::numeric_limits<float>::lowest());
    form.largest = std::min<double>(form.high - 1, std::numeric_limits<float>::max());
    return;
  }
  if (form.shape != Shape::kLog && form.shape != Shape::kLogit) return;
  form.smallest = FloatAbove(form.low);
  form.largest = -FloatAbove(-form.high);
  if (form.smallest <= form.largest) return;
  // Two numbers so close to each other that float32 has none in between.
  form.smallest = std::nextafter(form.low, form.high);
  form.largest = std::nextafter(form.high, form.low);
}

void AddCircle(const ColumnPreprocessing& column, ColumnForm& form) {
  form.shape = Shape::kCircle;
  form.low = column.has_low() ? column.low() : -std::numbers::pi;
  form.high = column.has_high() ? column.high() : std::numbers::pi;
  form.center = (form.low + form.high) / 2;
  form.scale = (form.high - form.low) / (2 * std::numbers::pi);
  // As float32 pi is larger than it is.
  form.smallest = std::nextafterf(static_cast<float>(form.low), static_cast<float>(form.center));
  form.largest = std::nextafterf(static_cast<float>(form.high), static_cast<float>(form.center));
}

void AddLogarithms(ColumnForm& form) {
  form.log_scale = std::log(form.scale);
  if (form.shape == Shape::kLogit) form.log_width = std::log(form.high - form.low);
}

Shape ShapeOf(ColumnPreprocessing::Scaling scaling) {
  switch (scaling) {
    case ColumnPreprocessing::LOG:
      return Shape::kLog;
    case ColumnPreprocessing::YEO_JOHNSON:
      return Shape::kYeoJohnson;
    case ColumnPreprocessing::LOGIT:
      return Shape::kLogit;
    default:
      return Shape::kLinear;
  }
}

}  // namespace

ColumnForm FormOf(const ColumnPreprocessing& column) {
  ColumnForm form;
  if (column.kind() == ColumnPreprocessing::CIRCULAR) {
    AddCircle(column, form);
    AddLogarithms(form);
    return form;
  }
  form.shape = ShapeOf(column.scaling());
  form.is_whole = column.kind() == ColumnPreprocessing::INTEGER;
  if (column.kind() == ColumnPreprocessing::CATEGORICAL) {
    form.shape = Shape::kLogit;
    form.codes.assign(column.categories().begin(), column.categories().end());
  }
  AddSupport(column, form);
  form.center = column.center();
  form.scale = column.has_scale() ? column.scale() : 1;
  form.power = column.has_power() ? column.power() : 1;
  AddLogarithms(form);
  return form;
}

double Dequantize(const ColumnForm& form, double x) {
  if (form.codes.empty()) return form.is_whole ? x + 0.5 : x;
  const auto found = std::find_if(form.codes.begin(), form.codes.end(), [number = static_cast<float>(x)](double code) {
    return static_cast<float>(code) == number;
  });
  if (found == form.codes.end()) return std::numeric_limits<double>::quiet_NaN();
  return 0.5 + static_cast<double>(found - form.codes.begin());
}

MappedNumber MapDequantized(const ColumnForm& form, double y) {
  if (std::isnan(y)) return kOutside;
  const MappedNumber u = ShapeNumber(form, y);
  if (u.log_slope == -kInfinity) return kOutside;
  return {(u.value - form.center) / form.scale, u.log_slope - form.log_scale};
}

MappedNumber MapToBase(const ColumnForm& form, double x) {
  if (std::isnan(x)) return {x, x};
  return MapDequantized(form, Dequantize(form, x));
}

MappedNumber MapToData(const ColumnForm& form, double z) {
  const MappedNumber y = UnshapeNumber(form, z * form.scale + form.center);
  return {Quantize(form, y.value), y.log_slope + form.log_scale};
}

std::pair<double, double> ImageOf(const ColumnForm& form, double low, double high) {
  if (!form.codes.empty()) {
    const auto [first, last] = std::minmax_element(form.codes.begin(), form.codes.end());
    return {*first, *last};
  }
  const double half = form.is_whole ? 0.5 : 0;
  return {UnshapeNumber(form, low * form.scale + form.center).value - half,
          UnshapeNumber(form, high * form.scale + form.center).value - half};
}

}  // namespace densityd::flow
