#include "server/engine/train/lower.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/engine/cpu/compilable.h"
#include "server/engine/cpu/lower_univariate.h"
#include "server/engine/train/builder.h"
#include "server/engine/train/lower_network.h"
#include "server/flow/column_map.h"
#include "server/flow/columns.h"
#include "server/flow/context_column.h"
#include "server/flow/made_degrees.h"
#include "server/flow/spec.h"

namespace densityd::engine::train {
namespace {

using density::v1::FlowSpec;
using density::v1::Layer;

constexpr char kHasNoStep[] = " has no compiled training step";

using Row = std::vector<Columns>;  // each of one column

Columns ColumnOf(const Columns& columns, size_t i) {
  const auto offset = static_cast<Column>(i);
  return {columns.value + offset, columns.has_gradient() ? columns.gradient + offset : kNoColumn, 1};
}

Row Split(const Columns& columns) {
  Row row;
  for (size_t i = 0; i < columns.count; ++i) row.push_back(ColumnOf(columns, i));
  return row;
}

Row Select(const Row& row, const std::vector<int64_t>& order) {
  Row selected;
  for (int64_t i : order) selected.push_back(row[static_cast<size_t>(i)]);
  return selected;
}

Row Join(Row first, const Row& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

bool HasGradient(const Row& row) {
  return std::any_of(row.begin(), row.end(), [](const Columns& column) { return column.has_gradient(); });
}

bool AreNeighbours(const Row& row) {
  for (size_t i = 1; i < row.size(); ++i) {
    const Columns expected = ColumnOf({row[0].value, row[0].gradient, 0}, i);
    if (row[i].value != expected.value || row[i].gradient != expected.gradient) return false;
  }
  return true;
}

std::vector<int64_t> Reversed(size_t count) {
  std::vector<int64_t> order(count);
  std::iota(order.rbegin(), order.rend(), 0);
  return order;
}

class Lowering {
 public:
  explicit Lowering(const FlowSpec& spec)
      : spec_(spec), features_(spec.features()), builder_(features_ * static_cast<size_t>(spec.layers_size() + 2)) {}

  absl::StatusOr<LoweredTraining> Run();

 private:
  absl::Status Append(const Layer& layer, const std::string& name);
  absl::Status AppendCoupling(const density::v1::Coupling& layer, const std::string& name);
  absl::Status AppendAutoregressive(const density::v1::Autoregressive& layer, const std::string& name);
  absl::Status AppendElementwise(const density::v1::Elementwise& layer, const std::string& name);
  void AppendLu(const std::string& name);
  void AppendHouseholder(const density::v1::Householder& layer, const std::string& name);
  void AppendFullAffine(const std::string& name);
  void AppendBase(const density::v1::BaseDistribution& base);
  // A column times a number of `raw`, after `shift`, which may be nowhere.
  void AppendDiagonal(DiagonalKind kind, Position shift, Position raw);

  // The map from data to base of columns `transformed`, whose parameters stand at `theta`, or are shared.
  absl::Status AddMap(const density::v1::Univariate& univariate, const std::string& name,
                      const std::vector<int64_t>& transformed, const Columns& theta, Position shared_theta);
  // The columns side by side.
  Columns Gather(const Row& row);
  void AddCopy(const Columns& from, const Columns& to, bool reverse);

  const FlowSpec& spec_;
  const size_t features_;
  Builder builder_;
  Row row_;
  Row context_;
};

Columns Lowering::Gather(const Row& row) {
  if (row.empty()) return {};
  if (AreNeighbours(row)) return {row[0].value, row[0].gradient, static_cast<uint32_t>(row.size())};
  const Columns to = builder_.NewNetworkColumns(static_cast<uint32_t>(row.size()), HasGradient(row));
  CopyStep copy;
  for (size_t i = 0; i < row.size(); ++i) copy.entries.push_back({row[i], ColumnOf(to, i)});
  builder_.AddStep(std::move(copy));
  return to;
}

void Lowering::AddCopy(const Columns& from, const Columns& to, bool reverse) {
  CopyStep copy;
  for (size_t i = 0; i < from.count; ++i) {
    copy.entries.push_back({ColumnOf(from, i), ColumnOf(to, reverse ? from.count - 1 - i : i)});
  }
  builder_.AddStep(std::move(copy));
}

absl::Status Lowering::AddMap(const density::v1::Univariate& univariate, const std::string& name,
                              const std::vector<int64_t>& transformed, const Columns& theta, Position shared_theta) {
  const cpu::UnivariateMap map = cpu::LowerUnivariate(univariate);
  MapStep step;
  step.parameters = map.parameters;
  step.constant = static_cast<float>(map.constant);
  step.affine = map.affine;
  step.spline = map.spline;
  switch (map.inverse) {
    case cpu::MapKind::kShiftInverse:
      step.kind = MapKind::kSubtractShift;
      break;
    case cpu::MapKind::kAffineInverse:
      step.kind = MapKind::kShiftScale;
      break;
    case cpu::MapKind::kAffineForward:
      step.kind = MapKind::kScaleShift;
      break;
    case cpu::MapKind::kSplineInverse:
      step.kind = MapKind::kSpline;
      break;
    default:
      return absl::UnimplementedError(absl::StrCat(name, ".univariate: this map", kHasNoStep));
  }
  const Row out = Split(builder_.NewRowColumns(static_cast<uint32_t>(transformed.size()), /*has_gradient=*/true));
  for (size_t i = 0; i < transformed.size(); ++i) {
    Columns& column = row_[static_cast<size_t>(transformed[i])];
    MapStep::Entry entry{column, out[i]};
    const auto first = static_cast<uint32_t>(i) * step.parameters;
    if (shared_theta == kNowhere) {
      entry.theta = theta.value + first;
      entry.theta_gradient = theta.gradient + first;
    } else {
      entry.shared_theta = shared_theta + first;
    }
    step.entries.push_back(entry);
    column = out[i];
  }
  builder_.AddStep(std::move(step));
  return absl::OkStatus();
}

absl::Status Lowering::AppendCoupling(const density::v1::Coupling& layer, const std::string& name) {
  const std::vector<int64_t> transformed = flow::TransformedColumns(layer.mask(), spec_.features());
  const std::vector<int64_t> passed = flow::OtherColumns(transformed, spec_.features());
  NetworkPlace place;
  place.name = name + ".conditioner";
  place.input = Gather(Join(Select(row_, passed), context_));
  place.inputs = DenseSide(place.input.count);
  const auto parameters = flow::UnivariateParameters(layer.univariate());
  place.outputs = DenseSide(static_cast<int64_t>(transformed.size()) * parameters);
  place.hidden = DenseSide;
  const absl::StatusOr<Columns> theta = AddNetwork(layer.conditioner(), place, builder_);
  if (!theta.ok()) return theta.status();
  return AddMap(layer.univariate(), name, transformed, *theta, kNowhere);
}

absl::Status Lowering::AppendAutoregressive(const density::v1::Autoregressive& layer, const std::string& name) {
  if (layer.parallel() == density::v1::Autoregressive::SAMPLING) {
    return absl::UnimplementedError(absl::StrCat(name, ".parallel = SAMPLING, a sequential density,", kHasNoStep));
  }
  const std::vector<int64_t> order = flow::AutoregressiveOrder(layer, spec_.features());
  const auto features = static_cast<int64_t>(features_);
  const auto context = static_cast<int64_t>(context_.size());
  NetworkPlace place;
  place.name = name + ".conditioner";
  place.input = Gather(Join(context_, Select(row_, order)));
  // Stored inputs are the columns in the data's order, then the context; here they stand by ascending degree.
  place.inputs.order.resize(context_.size());
  std::iota(place.inputs.order.begin(), place.inputs.order.end(), features);
  place.inputs.order.insert(place.inputs.order.end(), order.begin(), order.end());
  place.inputs.degrees.assign(context_.size(), 0);
  const auto parameters = flow::UnivariateParameters(layer.univariate());
  for (int64_t i = 0; i < features; ++i) {
    place.inputs.degrees.push_back(i + 1);
    for (int64_t p = 0; p < parameters; ++p) {
      place.outputs.order.push_back(order[static_cast<size_t>(i)] * parameters + p);
      place.outputs.degrees.push_back(i);
    }
  }
  place.hidden = [=](int64_t width) {
    Side side = DenseSide(width);
    side.degrees = flow::HiddenDegrees(width, features, context > 0);
    return side;
  };
  const absl::StatusOr<Columns> theta = AddNetwork(layer.conditioner(), place, builder_);
  if (!theta.ok()) return theta.status();
  return AddMap(layer.univariate(), name, order, *theta, kNowhere);
}

absl::Status Lowering::AppendElementwise(const density::v1::Elementwise& layer, const std::string& name) {
  const auto parameters = flow::UnivariateParameters(layer.univariate());
  const std::vector<int64_t> columns = flow::AllColumns(spec_.features());
  if (context_.empty() || !layer.has_conditioner()) {
    const Position theta = builder_.AddVector(name + ".theta", {static_cast<int64_t>(features_), parameters});
    return AddMap(layer.univariate(), name, columns, {}, theta);
  }
  NetworkPlace place;
  place.name = name + ".conditioner";
  place.input = Gather(context_);
  place.inputs = DenseSide(place.input.count);
  place.outputs = DenseSide(static_cast<int64_t>(features_) * parameters);
  place.hidden = DenseSide;
  const absl::StatusOr<Columns> theta = AddNetwork(layer.conditioner(), place, builder_);
  if (!theta.ok()) return theta.status();
  return AddMap(layer.univariate(), name, columns, *theta, kNowhere);
}

// z = L (U x) + b as two products with strict triangles, to which the diagonals add what they see: x times diag(U),
// and U x.
void Lowering::AppendLu(const std::string& name) {
  const auto count = static_cast<uint32_t>(features_);
  const auto size = static_cast<int64_t>(features_);
  const std::vector<int64_t> reversed = Reversed(features_);
  const std::vector<int64_t> natural = flow::AllColumns(size);
  TensorPlace place{name + ".lu", {size, size}, std::vector<Position>(features_ * features_, kNowhere)};

  const Columns x = Gather(Select(row_, reversed));
  const Columns upper = builder_.NewNetworkColumns(count, /*has_gradient=*/true);
  const Position raw = builder_.AddNumbers(features_);
  DiagonalStep diagonal;
  diagonal.kind = DiagonalKind::kSoftplus;
  diagonal.raw = raw;
  for (size_t i = 0; i < features_; ++i) {
    diagonal.entries.push_back({ColumnOf(x, i), ColumnOf(upper, i)});
    const auto column = static_cast<size_t>(reversed[i]);
    place.where[column * features_ + column] = static_cast<Position>(raw + i);
  }
  builder_.AddStep(std::move(diagonal));
  LinearStep above{builder_.AddTriangle(reversed, place.where), x, upper};
  above.accumulates = true;
  builder_.AddStep(std::move(above));

  const Columns y = builder_.NewNetworkColumns(count, /*has_gradient=*/true);
  AddCopy(upper, y, /*reverse=*/true);
  const Columns z = builder_.NewRowColumns(count, /*has_gradient=*/true);
  AddCopy(y, z, /*reverse=*/false);
  LinearStep below{builder_.AddTriangle(natural, place.where), y, z};
  below.accumulates = true;
  below.linear.bias = builder_.AddVector(name + ".bias", {size});
  builder_.AddStep(std::move(below));
  builder_.AddTensor(std::move(place));
  row_ = Split(z);
}

void Lowering::AppendHouseholder(const density::v1::Householder& layer, const std::string& name) {
  const auto count = static_cast<uint32_t>(features_);
  TensorPlace place{name + ".vectors", {layer.reflections(), static_cast<int64_t>(features_)}, {}};
  Columns at = Gather(row_);
  for (uint32_t k = 0; k < layer.reflections(); ++k) {
    const bool is_last = k + 1 == layer.reflections();
    ReflectStep step{at, is_last ? builder_.NewRowColumns(count, /*has_gradient=*/true)
                                 : builder_.NewNetworkColumns(count, /*has_gradient=*/true)};
    step.vector = builder_.AddNumbers(features_);
    for (uint32_t i = 0; i < count; ++i) place.where.push_back(step.vector + i);
    at = step.out;
    builder_.AddStep(step);
  }
  builder_.AddTensor(std::move(place));
  row_ = Split(at);
}

void Lowering::AppendFullAffine(const std::string& name) {
  const auto size = static_cast<int64_t>(features_);
  SolveStep step{Gather(row_), builder_.NewRowColumns(static_cast<uint32_t>(features_), /*has_gradient=*/true)};
  step.lower = builder_.AddVector(name + ".lower", {size * (size + 1) / 2});
  step.shift = builder_.AddVector(name + ".shift", {size});
  builder_.AddStep(step);
  row_ = Split(step.out);
}

void Lowering::AppendBase(const density::v1::BaseDistribution& base) {
  const auto size = static_cast<int64_t>(features_);
  double log = -0.5 * static_cast<double>(features_) * std::log(2 * std::numbers::pi);
  if (base.has_diagonal_normal()) {
    const Position mean = builder_.AddVector("base.mean", {size});
    AppendDiagonal(DiagonalKind::kBoundedExp, mean, builder_.AddVector("base.log_scale", {size}));
  } else if (base.has_student_t()) {
    StudentBase student;
    student.degrees = base.student_t().degrees();
    if (!base.student_t().fixed()) student.raw = builder_.AddVector("base.degrees", {size});
    builder_.program().student = student;
    log = 0;  // depends on the degrees
  }
  builder_.program().base = row_;
  builder_.program().log_abs_det = log;
}

void Lowering::AppendDiagonal(DiagonalKind kind, Position shift, Position raw) {
  const Row out = Split(builder_.NewRowColumns(static_cast<uint32_t>(features_), /*has_gradient=*/true));
  DiagonalStep step;
  step.kind = kind;
  step.shift = shift;
  step.raw = raw;
  for (size_t i = 0; i < features_; ++i) step.entries.push_back({row_[i], out[i]});
  builder_.AddStep(std::move(step));
  row_ = out;
}

absl::Status Lowering::Append(const Layer& layer, const std::string& name) {
  builder_.StartNetwork();
  const auto size = static_cast<int64_t>(features_);
  switch (layer.kind_case()) {
    case Layer::kCoupling:
      return AppendCoupling(layer.coupling(), name);
    case Layer::kAutoregressive:
      return AppendAutoregressive(layer.autoregressive(), name);
    case Layer::kElementwise:
      return AppendElementwise(layer.elementwise(), name);
    case Layer::kPermutation:
      row_ = Select(row_, flow::PermutationColumns(layer.permutation(), size));
      return absl::OkStatus();
    case Layer::kLuLinear:
      AppendLu(name);
      return absl::OkStatus();
    case Layer::kHouseholder:
      AppendHouseholder(layer.householder(), name);
      return absl::OkStatus();
    case Layer::kFullAffine:
      AppendFullAffine(name);
      return absl::OkStatus();
    case Layer::kActnorm: {
      const Position raw = builder_.AddVector(name + ".log_scale", {size});
      AppendDiagonal(DiagonalKind::kExp, builder_.AddVector(name + ".shift", {size}), raw);
      return absl::OkStatus();
    }
    default:
      return absl::UnimplementedError(absl::StrCat(name, ": this kind of layer", kHasNoStep));
  }
}

// Whether a layer is the same for every row that it sees, however often. Integers are not: each time they are spread
// over their cells anew.
bool IsFixed(const Layer& layer) {
  const auto& columns = layer.preprocessing().columns();
  const bool is_drawn = std::any_of(columns.begin(), columns.end(),
                                    [](const auto& column) { return flow::FormOf(column).is_discrete(); });
  return layer.has_standardize() || layer.has_bijection() || (layer.has_preprocessing() && !is_drawn);
}

absl::StatusOr<LoweredTraining> Lowering::Run() {
  LoweredTraining lowered;
  lowered.features = features_;
  lowered.context_features = spec_.context_features();
  while (lowered.fixed_layers < spec_.layers_size() && IsFixed(spec_.layers(lowered.fixed_layers))) {
    ++lowered.fixed_layers;
  }
  row_ = Split(builder_.NewRowColumns(spec_.features(), /*has_gradient=*/false));
  context_ = Split(builder_.NewRowColumns(spec_.context_features(), /*has_gradient=*/false));
  builder_.program().input = Join(row_, context_);
  for (int i = lowered.fixed_layers; i < spec_.layers_size(); ++i) {
    if (absl::Status status = Append(spec_.layers(i), absl::StrCat("layers.", i)); !status.ok()) return status;
  }
  AppendBase(spec_.base());
  builder_.Finish();
  lowered.program = builder_.TakeProgram();
  lowered.layout = builder_.TakeLayout();
  return lowered;
}

}  // namespace

absl::StatusOr<LoweredTraining> LowerTraining(const FlowSpec& spec) {
  // A t distribution has compiled steps, but no compiled answers.
  FlowSpec known = spec;
  if (spec.base().has_student_t()) known.mutable_base()->mutable_standard_normal();
  if (absl::Status status = cpu::CheckCompilable(known); !status.ok()) return status;
  if (spec.has_context_encoding())
    return absl::UnimplementedError(absl::StrCat("context_encoding, whose parts are learnt,", kHasNoStep));
  const uint64_t parameters = flow::CountParameters(spec);
  if (parameters == 0) return absl::UnimplementedError(absl::StrCat("a flow without parameters", kHasNoStep));
  // Padding may double them, and positions have 32 bits.
  if (parameters > kNowhere / 4)
    return absl::UnimplementedError(absl::StrCat("a flow of so many parameters", kHasNoStep));
  return Lowering(spec).Run();
}

}  // namespace densityd::engine::train
