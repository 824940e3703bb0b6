#include "server/flow/column_preprocessing.h"

#include <limits>
#include <utility>

#include "server/flow/rounded_ends_tensor.h"

namespace densityd::flow {
namespace {

using Shape = ColumnForm::Shape;
using Group = Preprocessing::Group;

constexpr double kNegativeInfinity = -std::numeric_limits<double>::infinity();
// Takes the place of the power 0, as in column_map.cc.
constexpr double kSmallestPower = 1e-100;

// log of the distance to an end of the support, and 0 `outside`: the NaN of a branch that is not taken would poison the
// gradient.
Tensor LogInside(const Tensor& distance, const Tensor& outside) { return torch::log(distance.masked_fill(outside, 1)); }

// Density zero `outside`, with a finite number there.
MappedColumns Guarded(const Tensor& outside, const Tensor& value, const Tensor& log_slope) {
  return {value.masked_fill(outside, 0), log_slope.masked_fill(outside, kNegativeInfinity)};
}

// The power that applies to numbers of the sign of `a`, and that sign.
struct SignedPower {
  Tensor sign;
  Tensor power;
};

SignedPower PowerAt(const Tensor& a, const Tensor& power) {
  const Tensor below = a < 0;
  return {torch::where(below, -1.0, 1.0), torch::where(below, 2 - power, power).clamp_min(kSmallestPower)};
}

MappedColumns YeoJohnson(const Tensor& y, const Tensor& power) {
  const SignedPower own = PowerAt(y, power);
  const Tensor log = torch::log1p(y * own.sign);
  return {own.sign * torch::expm1(own.power * log) / own.power, (own.power - 1) * log};
}

// u -> y, log dy/du.
MappedColumns InverseYeoJohnson(const Tensor& u, const Tensor& power) {
  const SignedPower own = PowerAt(u, power);
  const Tensor log = torch::log1p(own.power * u * own.sign) / own.power;
  return {own.sign * torch::expm1(log), (1 - own.power) * log};
}

// y -> u, log du/dy of the columns of a group.
MappedColumns ToShape(const Group& group, const Tensor& y) {
  switch (group.shape) {
    case Shape::kLog: {
      const Tensor outside = y <= group.low;
      const Tensor u = LogInside(y - group.low, outside);
      return Guarded(outside, u, -u);
    }
    case Shape::kYeoJohnson:
      return YeoJohnson(y, group.power);
    case Shape::kLogit: {
      const Tensor outside = (y <= group.low).logical_or(y >= group.high);
      const Tensor below = LogInside(y - group.low, outside);
      const Tensor above = LogInside(group.high - y, outside);
      return Guarded(outside, below - above, torch::log(group.high - group.low) - below - above);
    }
    default: {
      const Tensor angle = WithinEnds(y, group.low, group.high);
      return Guarded((angle < group.low).logical_or(angle > group.high), angle, torch::zeros_like(y));
    }
  }
}

// u -> y, log dy/du.
MappedColumns FromShape(const Group& group, const Tensor& u) {
  switch (group.shape) {
    case Shape::kLog:
      return {group.low + torch::exp(u), u};
    case Shape::kYeoJohnson:
      return InverseYeoJohnson(u, group.power);
    case Shape::kLogit: {
      const Tensor width = group.high - group.low;
      // From the nearer end, whose digits are all kept.
      const Tensor y =
          torch::where(u < 0, group.low + width * torch::sigmoid(u), group.high - width * torch::sigmoid(-u));
      return {y, torch::log(width) + torch::log_sigmoid(u) + torch::log_sigmoid(-u)};
    }
    default:
      return {u, torch::zeros_like(u)};
  }
}

}  // namespace

Tensor MapColumnToBase(const ColumnForm& form, const Tensor& x) {
  const auto number = [&](double value) { return torch::full({}, value, x.options()); };
  const Group group = {form.shape, Tensor(), number(form.low), number(form.high), number(form.power)};
  const Tensor u = form.shape == Shape::kLinear ? x : ToShape(group, x).value;
  return (u - form.center) / form.scale;
}

Tensor Preprocessing::Numbers(const std::vector<double>& numbers) {
  return RegisterExactConstant(torch::tensor(numbers, torch::kFloat64));
}

Preprocessing::Preprocessing(const density::v1::Preprocessing& spec) {
  std::vector<ColumnForm> forms;
  for (const auto& column : spec.columns()) forms.push_back(FormOf(column));
  const auto each = [&](auto number) {
    std::vector<double> numbers;
    for (const ColumnForm& form : forms) numbers.push_back(number(form));
    return Numbers(numbers);
  };
  is_discrete_ = each([](const ColumnForm& form) { return form.is_discrete() ? 1.0 : 0.0; });
  smallest_ = each([](const ColumnForm& form) { return form.smallest; });
  largest_ = each([](const ColumnForm& form) { return form.largest; });
  center_ = each([](const ColumnForm& form) { return form.center; });
  scale_ = each([](const ColumnForm& form) { return form.scale; });
  log_scale_ = each([](const ColumnForm& form) { return form.log_scale; });
  dtype_ = RegisterConstant(torch::zeros({}, torch::kFloat64));
  for (size_t j = 0; j < forms.size(); ++j) {
    any_discrete_ |= forms[j].is_discrete();
    if (!forms[j].codes.empty()) codes_.push_back({static_cast<int64_t>(j), Numbers(forms[j].codes)});
  }
  for (const Shape shape : {Shape::kLog, Shape::kYeoJohnson, Shape::kLogit, Shape::kCircle}) {
    std::vector<int64_t> columns;
    std::vector<double> numbers[3];
    for (size_t j = 0; j < forms.size(); ++j) {
      if (forms[j].shape != shape) continue;
      columns.push_back(static_cast<int64_t>(j));
      numbers[0].push_back(forms[j].low);
      numbers[1].push_back(forms[j].high);
      numbers[2].push_back(forms[j].power);
    }
    if (columns.empty()) continue;
    groups_.push_back({shape, RegisterConstant(torch::tensor(columns, torch::kInt64)), Numbers(numbers[0]),
                       Numbers(numbers[1]), Numbers(numbers[2])});
  }
}

Tensor Preprocessing::Dequantize(const Tensor& x) const {
  Tensor y = x;
  for (const Codes& one : codes_) {
    const Tensor is_code = x.select(1, one.column).to(torch::kFloat32).unsqueeze(1) == one.codes.to(torch::kFloat32);
    // The support of an index is (0, K), so that -1 lies outside.
    const Tensor index = is_code.to(torch::kFloat64).argmax(1).to(torch::kFloat64);
    const Tensor known = is_code.any(1);
    y = y.index_copy(1, torch::full({1}, one.column, is_code.options().dtype(torch::kInt64)),
                     torch::where(known, index, -1.0).unsqueeze(1));
  }
  if (!any_discrete_) return y;
  return y + is_discrete_ * (is_training() ? torch::rand_like(y) : torch::full_like(y, 0.5));
}

Tensor Preprocessing::Quantize(const Tensor& y) const {
  if (!any_discrete_) return y.clamp(smallest_, largest_);
  Tensor x = torch::where(is_discrete_ > 0, y.floor(), y).clamp(smallest_, largest_);
  for (const Codes& one : codes_) {
    const Tensor place = x.select(1, one.column);
    const Tensor index = place.nan_to_num(0).to(torch::kInt64);
    const Tensor code = torch::where(place.isnan(), place, one.codes.index_select(0, index));
    x = x.index_copy(1, torch::full({1}, one.column, index.options()), code.unsqueeze(1));
  }
  return x;
}

template <typename Map>
MappedColumns Preprocessing::MapGroups(const Tensor& from, const Map& map) const {
  Tensor to = from;
  Tensor log_slope = torch::zeros_like(from);
  for (const Group& group : groups_) {
    const MappedColumns mapped = map(group, from.index_select(1, group.columns));
    to = to.index_copy(1, group.columns, mapped.value);
    log_slope = log_slope.index_copy(1, group.columns, mapped.log_slope);
  }
  return {to, log_slope};
}

Mapped Preprocessing::Forward(const Tensor& z, const Tensor& /*context*/) {
  const MappedColumns y = MapGroups(z.to(torch::kFloat64) * scale_ + center_, FromShape);
  return {Quantize(y.value).to(dtype_.scalar_type()), (y.log_slope + log_scale_).sum(1).to(dtype_.scalar_type())};
}

Mapped Preprocessing::Inverse(const Tensor& x, const Tensor& /*context*/) {
  const Mapped z = Summed(ToBase(x));
  return {z.value.to(dtype_.scalar_type()), z.log_abs_det.to(dtype_.scalar_type())};
}

MappedColumns Preprocessing::InverseByColumn(const MappedColumns& x, const Tensor& /*context*/) {
  const MappedColumns z = ToBase(x.value);
  return After(x, {z.value.to(dtype_.scalar_type()), z.log_slope.to(dtype_.scalar_type())});
}

MappedColumns Preprocessing::ToBase(const Tensor& x) const {
  const MappedColumns u = MapGroups(Dequantize(x.to(torch::kFloat64)), ToShape);
  return {(u.value - center_) / scale_, u.log_slope - log_scale_};
}

}  // namespace densityd::flow
