#include "server/flow/support.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/flow/column_map.h"
#include "server/flow/columns.h"
#include "server/flow/rounded_ends.h"
#include "server/flow/row_shape.h"

namespace densityd::flow {
namespace {

using density::v1::BaseDistribution;
using density::v1::Bijection;
using density::v1::Layer;
using density::v1::Preprocessing;
using density::v1::Standardize;
using density::v1::Univariate;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// Of a spline that does not say.
constexpr double kDefaultBound = 3;

using Box = std::vector<Interval>;

double Sigmoid(double z, double alpha) { return (1 / (1 + std::exp(-z)) - alpha) / (1 - 2 * alpha); }

double Logit(double z, double alpha) {
  const double shrunk = std::clamp(alpha + (1 - 2 * alpha) * z, 0.0, 1.0);
  return std::log(shrunk) - std::log1p(-shrunk);
}

bool IsWithinInterval(const Interval& interval, double low, double high) {
  return IsWithin(interval.low, low, high) && IsWithin(interval.high, low, high);
}

Interval Scaled(Interval interval, double scale, double shift) {
  const double low = scale * interval.low + shift;
  const double high = scale * interval.high + shift;
  return {std::min(low, high), std::max(low, high)};
}

// Where the Forward map of `bijection` is defined.
Interval Domain(const Bijection& bijection) {
  if (bijection.kind() == Bijection::LOG) return {0, kInfinity};
  if (bijection.kind() != Bijection::LOGIT) return {};
  return {Sigmoid(-kInfinity, bijection.alpha()), Sigmoid(kInfinity, bijection.alpha())};
}

Interval Image(const Bijection& bijection, Interval z) {
  const double slope = bijection.has_slope() ? bijection.slope() : 0.01;
  switch (bijection.kind()) {
    case Bijection::AFFINE:
      return Scaled(z, bijection.has_scale() ? bijection.scale() : 1, bijection.shift());
    case Bijection::EXP:
      return {std::exp(z.low), std::exp(z.high)};
    case Bijection::LOG:
      return {std::log(z.low), std::log(z.high)};
    case Bijection::SIGMOID:
      return {Sigmoid(z.low, bijection.alpha()), Sigmoid(z.high, bijection.alpha())};
    case Bijection::LOGIT:
      return {Logit(z.low, bijection.alpha()), Logit(z.high, bijection.alpha())};
    case Bijection::SOFTPLUS:
      return {std::log1p(std::exp(z.low)), z.high + std::log1p(std::exp(-z.high))};
    case Bijection::TANH:
      return {std::tanh(z.low), std::tanh(z.high)};
    case Bijection::LEAKY_RELU_BIJECTION:
      return {z.low >= 0 ? z.low : slope * z.low, z.high >= 0 ? z.high : slope * z.high};
    default:
      return {};
  }
}

absl::Status MapBijection(const Bijection& bijection, const std::string& field, Box& box) {
  const Interval domain = Domain(bijection);
  for (int64_t column : BijectionColumns(bijection, static_cast<int64_t>(box.size()))) {
    Interval& interval = box[column];
    if (interval.low < domain.low || interval.high > domain.high) {
      return InvalidArgument(absl::StrCat(field, ".kind"),
                             absl::StrCat(Bijection::Kind_Name(bijection.kind()), " is defined within [", domain.low,
                                          ", ", domain.high, "], but the layers between it and the base give column ",
                                          column, " values within [", interval.low, ", ", interval.high, "]"));
    }
    interval = Image(bijection, interval);
  }
  return absl::OkStatus();
}

// Where `base`, the distribution of `columns`, has its density.
template <typename Indices>
void FillBox(const BaseDistribution& base, const Indices& columns, Box& box) {
  if (base.has_uniform_box()) {
    const auto& ends = base.uniform_box();
    for (int64_t column : columns) {
      box[column] = {ends.has_low() ? ends.low() : 0, ends.has_high() ? ends.high() : 1};
    }
  }
  // A product's columns are all of them: products do not nest.
  for (const auto& group : base.product().groups()) FillBox(group.base(), group.columns(), box);
}

void MapStandardize(const Standardize& standardize, Box& box) {
  const bool fitted = standardize.mean_size() > 0 && standardize.scale_size() > 0;
  for (size_t column = 0; column < box.size(); ++column) {
    const int j = static_cast<int>(column);
    box[column] = fitted ? Scaled(box[column], standardize.scale(j), standardize.mean(j)) : Interval();
  }
}

absl::Status MapPreprocessing(const Preprocessing& preprocessing, const std::string& field, Box& box) {
  for (int j = 0; j < preprocessing.columns_size(); ++j) {
    const ColumnForm form = FormOf(preprocessing.columns(j));
    if (form.shape == ColumnForm::Shape::kCircle && !IsWithinInterval(box[j], -std::numbers::pi, std::numbers::pi)) {
      return InvalidArgument(absl::StrCat(field, ".columns[", j, "].kind"),
                             absl::StrCat("CIRCULAR needs a flow that stays within [-pi, pi] in this column, such as "
                                          "the preset circular_nsf; the layers between it and the base give values "
                                          "within [",
                                          box[j].low, ", ", box[j].high, "]"));
    }
    const auto [low, high] = ImageOf(form, box[j].low, box[j].high);
    box[j] = {low, high};
  }
  return absl::OkStatus();
}

// The univariate map of a layer that maps every column for itself, given others; null for other layers.
const Univariate* UnivariateOf(const Layer& layer) {
  if (layer.has_elementwise()) return &layer.elementwise().univariate();
  if (layer.has_coupling()) return &layer.coupling().univariate();
  return layer.has_autoregressive() ? &layer.autoregressive().univariate() : nullptr;
}

// A learnt map can send a bounded interval anywhere, but a circle to itself only. A split leaves its first half alone.
void MapLearnt(const Layer& layer, const RowShape& shape, Box& box) {
  if (layer.has_split()) {
    std::fill(box.begin() + static_cast<std::ptrdiff_t>(ShapeAfter(layer, shape).columns), box.end(), Interval());
    return;
  }
  const Univariate* univariate = UnivariateOf(layer);
  Box mapped(box.size());
  if (univariate != nullptr) {
    const auto& spline = univariate->rational_quadratic_spline();
    const double bound = spline.bound() == 0 ? kDefaultBound : spline.bound();
    for (int64_t column : CircularColumns(*univariate, AllColumns(static_cast<int64_t>(box.size())))) {
      if (IsWithinInterval(box[column], -bound, bound)) mapped[column] = {-bound, bound};
    }
  }
  box = std::move(mapped);
}

// z[j] = x[columns[j]].
void MapPermutation(const Columns& columns, Box& box) {
  Box permuted(box.size());
  for (size_t j = 0; j < columns.size(); ++j) permuted[columns[j]] = box[j];
  box = std::move(permuted);
}

// Takes the values of `box`, the columns that `layer` gives, to those that it takes.
absl::Status MapLayer(const Layer& layer, const RowShape& shape, const std::string& field, Box& box) {
  switch (layer.kind_case()) {
    case Layer::kBijection:
      return MapBijection(layer.bijection(), field + ".bijection", box);
    case Layer::kPreprocessing:
      return MapPreprocessing(layer.preprocessing(), field + ".preprocessing", box);
    case Layer::kStandardize:
      MapStandardize(layer.standardize(), box);
      break;
    case Layer::kPermutation:
      MapPermutation(PermutationColumns(layer.permutation(), shape.columns), box);
      break;
    case Layer::kSqueeze:
      MapPermutation(SqueezeColumns(shape), box);
      break;
    default:
      MapLearnt(layer, shape, box);
  }
  return absl::OkStatus();
}

// Takes the values of the base through all layers, up to the data.
absl::Status MapBox(const density::v1::FlowSpec& spec, const std::string& field, Box& box) {
  const std::vector<RowShape> shapes = LayerShapes(spec);
  for (int i = spec.layers_size() - 1; i >= 0; --i) {
    Box seen(box.begin(), box.begin() + static_cast<std::ptrdiff_t>(shapes[i].columns));
    const std::string path = absl::StrCat(field, ".layers[", i, "]");
    if (auto status = MapLayer(spec.layers(i), shapes[i], path, seen); !status.ok()) return status;
    std::copy(seen.begin(), seen.end(), box.begin());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSupport(const density::v1::FlowSpec& spec, const std::string& field) {
  Box box(spec.features());
  FillBox(spec.base(), AllColumns(spec.features()), box);
  return MapBox(spec, field, box);
}

std::vector<Interval> DataSupport(const density::v1::FlowSpec& spec) {
  Box box(spec.features());
  FillBox(spec.base(), AllColumns(spec.features()), box);
  // An error cannot be: the spec was checked. Without bounds nothing is lost but a few evaluations.
  if (!MapBox(spec, "spec", box).ok()) box.assign(box.size(), Interval());
  return box;
}

}  // namespace densityd::flow
