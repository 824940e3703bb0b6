#include "tests/engine/cpu/models.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "server/engine/philox.h"
#include "server/flow/column_map.h"
#include "server/flow/context_column.h"
#include "server/flow/spec.h"

namespace densityd::engine::cpu {
namespace {

using density::v1::Autoregressive;
using density::v1::Bijection;
using density::v1::FlowSpec;
using density::v1::Preset;

void FillStandardize(density::v1::Standardize& layer, uint32_t columns) {
  if (!layer.mean().empty()) return;
  for (uint32_t j = 0; j < columns; ++j) {
    layer.add_mean(0.3 * j - 1);
    layer.add_scale(0.5 + 0.25 * (j % 5));
  }
}

void Unstandardize(const density::v1::Standardize& layer, std::vector<float>& rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    const int j = static_cast<int>(i % layer.mean_size());
    rows[i] = static_cast<float>(rows[i] * layer.scale(j) + layer.mean(j));
  }
}

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// Standard deviation of a tensor's numbers.
double ScaleOf(const flow::TensorInfo& info) {
  // Matrices of conditioners: He's scale. Everything else is a shift, a log-scale or a raw diagonal.
  if (EndsWith(info.name, ".weight")) return std::sqrt(2.0 / static_cast<double>(info.shape[1]));
  if (EndsWith(info.name, ".lu") || EndsWith(info.name, ".lower")) {
    return 0.3 / std::sqrt(static_cast<double>(info.shape[0]));
  }
  return 0.3;
}

/// Whether a conditioner's layer gives scales and shifts, or the change that a residual block makes: small numbers.
bool GivesSmallNumbers(const std::string& name, const std::vector<flow::TensorInfo>& all) {
  if (!EndsWith(name, ".weight")) return false;
  const std::string layer = name.substr(0, name.size() - std::string(".weight").size());
  if (EndsWith(layer, ".output") || layer.find(".blocks.") != std::string::npos) return !EndsWith(layer, ".0");
  if (EndsWith(layer, ".input")) return false;
  // The last of the numbered layers of an MLP.
  const size_t dot = layer.rfind('.') + 1;
  const std::string next = layer.substr(0, dot) + std::to_string(std::stoi(layer.substr(dot)) + 1) + ".weight";
  return std::none_of(all.begin(), all.end(), [&next](const auto& info) { return info.name == next; });
}

FlowSpec WithConditioner(const std::string& preset, uint32_t features, uint32_t context,
                         density::v1::Activation activation, bool residual) {
  Preset options;
  options.set_name(preset);
  options.set_transforms(3);
  options.add_hidden(24);
  if (!residual) options.add_hidden(17);
  options.set_activation(activation);
  options.set_residual(residual);
  return *flow::ExpandPreset(options, features, context);
}

FlowSpec WithMixing(const std::string& preset, Preset::Mixing mixing) {
  Preset options;
  options.set_name(preset);
  options.set_transforms(4);
  options.add_hidden(32);
  options.add_hidden(32);
  options.set_mixing(mixing);
  options.set_actnorm(true);
  options.set_learnt_base(true);
  options.set_seed(5);
  return *flow::ExpandPreset(options, 7, 0);
}

/// All affine kinds of layer in a row, and elementary bijections around them.
FlowSpec AffineLayers() {
  FlowSpec spec;
  spec.set_features(5);
  FillStandardize(*spec.add_layers()->mutable_standardize(), 5);
  spec.add_layers()->mutable_permutation()->set_kind(density::v1::Permutation::REVERSE);
  spec.add_layers()->mutable_actnorm();
  spec.add_layers()->mutable_lu_linear();
  auto& random = *spec.add_layers()->mutable_permutation();
  random.set_kind(density::v1::Permutation::RANDOM);
  random.set_seed(3);
  spec.add_layers()->mutable_actnorm();
  auto& leaky = *spec.add_layers()->mutable_bijection();
  leaky.set_kind(Bijection::LEAKY_RELU_BIJECTION);
  leaky.set_slope(0.2);
  auto& affine = *spec.add_layers()->mutable_bijection();
  affine.set_kind(Bijection::AFFINE);
  affine.set_scale(-1.5);
  affine.set_shift(0.25);
  affine.add_columns(3);
  affine.add_columns(0);
  spec.add_layers()->mutable_full_affine();
  spec.add_layers()->mutable_lu_linear();
  spec.add_layers()->mutable_elementwise();
  spec.add_layers()->mutable_permutation();
  spec.mutable_base()->mutable_diagonal_normal();
  return spec;
}

FlowSpec WithCayley() {
  FlowSpec spec = WithMixing("maf", Preset::ALTERNATE);
  spec.add_layers()->mutable_orthogonal()->set_map(density::v1::Orthogonal::CAYLEY);
  return spec;
}

/// x = map(z) on some columns, over a small coupling flow.
FlowSpec WithBijection(Bijection::Kind kind, double alpha = 0) {
  FlowSpec spec;
  spec.set_features(4);
  auto& bijection = *spec.add_layers()->mutable_bijection();
  bijection.set_kind(kind);
  bijection.set_alpha(alpha);
  bijection.add_columns(2);
  bijection.add_columns(0);
  spec.add_layers()->mutable_coupling()->mutable_conditioner()->mutable_mlp()->add_hidden(16);
  return spec;
}

FlowSpec DeepAutoregressive(Autoregressive::ParallelDirection parallel) {
  FlowSpec spec;
  spec.set_features(9);
  spec.set_context_features(2);
  for (int i = 0; i < 2; ++i) {
    auto& layer = *spec.add_layers()->mutable_autoregressive();
    layer.set_parallel(parallel);
    for (uint32_t column : {4, 0, 8, 2, 6, 1, 7, 3, 5}) layer.add_columns(column);
    for (uint32_t width : {40, 5, 70}) layer.mutable_conditioner()->mutable_mlp()->add_hidden(width);
    if (i == 1) layer.mutable_univariate()->mutable_shift();
  }
  return spec;
}

density::v1::RationalQuadraticSpline Spline(uint32_t bins, double bound) {
  density::v1::RationalQuadraticSpline spline;
  spline.set_bins(bins);
  spline.set_bound(bound);
  return spline;
}

density::v1::RationalQuadraticSpline SoftClipSpline(uint32_t bins, double bound) {
  density::v1::RationalQuadraticSpline spline = Spline(bins, bound);
  spline.set_parameterization(density::v1::RationalQuadraticSpline::SOFT_CLIP);
  return spline;
}

density::v1::ColumnPreprocessing ColumnOf(density::v1::ColumnPreprocessing::Kind kind,
                                          density::v1::ColumnPreprocessing::Scaling scaling) {
  density::v1::ColumnPreprocessing column;
  column.set_kind(kind);
  column.set_scaling(scaling);
  column.set_center(0.3);
  column.set_scale(1.4);
  return column;
}

/// Columns of every form before a flow; only scaled ones where `linear`.
FlowSpec PreprocessedColumns(const std::string& preset, bool linear) {
  using Column = density::v1::ColumnPreprocessing;
  density::v1::Preprocessing preprocessing;
  auto& columns = *preprocessing.mutable_columns();
  *columns.Add() = ColumnOf(Column::CONTINUOUS, Column::STANDARD);
  *columns.Add() = ColumnOf(Column::CONTINUOUS, Column::ROBUST);
  if (!linear) {
    *columns.Add() = ColumnOf(Column::CONTINUOUS, Column::LOG);
    *columns.Add() = ColumnOf(Column::CONTINUOUS, Column::LOGIT);
    columns.rbegin()->set_low(-5);
    columns.rbegin()->set_high(2);
    *columns.Add() = ColumnOf(Column::CONTINUOUS, Column::YEO_JOHNSON);
    columns.rbegin()->set_power(0.6);
    *columns.Add() = ColumnOf(Column::INTEGER, Column::LOG);
    *columns.Add() = ColumnOf(Column::CATEGORICAL, Column::LOGIT);
    for (double category : {4.0, -1.0, 0.1}) columns.rbegin()->add_categories(category);
  }
  FlowSpec spec = PresetSpec(preset, static_cast<uint32_t>(columns.size()), 0, 2, 32);
  *spec.mutable_layers(0)->mutable_preprocessing() = preprocessing;
  return spec;
}

/// A conditional flow whose context has a column of every kind.
FlowSpec EncodedContext(const std::string& preset) {
  using Column = density::v1::ColumnPreprocessing;
  FlowSpec spec = PresetSpec(preset, 4, 5, 2, 32);
  spec.clear_context_preprocessing();
  auto& columns = *spec.mutable_context_encoding()->mutable_columns();
  for (const bool accepts : {false, true}) {
    *columns.Add() = ColumnOf(Column::CONTINUOUS, accepts ? Column::YEO_JOHNSON : Column::STANDARD);
    if (accepts) columns.rbegin()->set_power(0.5);
    columns.rbegin()->set_accept_missing(accepts);
    auto& category = *columns.Add();
    category.set_kind(Column::CATEGORICAL);
    for (double code : {2.0, -1.0, 0.1, 5.0}) category.add_categories(code);
    category.set_accept_unknown(accepts);
    category.set_accept_missing(accepts);
    category.set_embedding(accepts ? 3 : 0);
  }
  auto& angle = *columns.Add();
  angle.set_kind(Column::CIRCULAR);
  angle.set_low(-20);
  angle.set_high(20);
  angle.set_accept_missing(true);
  return spec;
}

/// An affine map in every scheme, as `options` says.
FlowSpec AffineForms(const density::v1::Affine& options) {
  FlowSpec spec;
  spec.set_features(4);
  *spec.add_layers()->mutable_elementwise()->mutable_univariate()->mutable_affine() = options;
  auto& coupling = *spec.add_layers()->mutable_coupling();
  *coupling.mutable_univariate()->mutable_affine() = options;
  coupling.mutable_conditioner()->mutable_mlp()->add_hidden(12);
  for (const auto parallel : {Autoregressive::DENSITY, Autoregressive::SAMPLING}) {
    auto& layer = *spec.add_layers()->mutable_autoregressive();
    *layer.mutable_univariate()->mutable_affine() = options;
    layer.set_parallel(parallel);
    layer.mutable_conditioner()->mutable_mlp()->add_hidden(20);
  }
  return spec;
}

/// A spline in every scheme: per column, coupling, and autoregressive in both parallel directions.
FlowSpec SplineLayers(const density::v1::RationalQuadraticSpline& spline, uint32_t context) {
  density::v1::Univariate univariate;
  *univariate.mutable_rational_quadratic_spline() = spline;
  FlowSpec spec;
  spec.set_features(5);
  spec.set_context_features(context);
  *spec.add_layers()->mutable_elementwise()->mutable_univariate() = univariate;
  if (context > 0) spec.mutable_layers(0)->mutable_elementwise()->mutable_conditioner()->mutable_mlp()->add_hidden(9);
  auto& coupling = *spec.add_layers()->mutable_coupling();
  *coupling.mutable_univariate() = univariate;
  coupling.mutable_conditioner()->mutable_residual_mlp()->set_hidden(20);
  for (const auto parallel : {Autoregressive::DENSITY, Autoregressive::SAMPLING}) {
    auto& layer = *spec.add_layers()->mutable_autoregressive();
    *layer.mutable_univariate() = univariate;
    layer.set_parallel(parallel);
    layer.set_order(Autoregressive::REVERSED);
    layer.mutable_conditioner()->mutable_mlp()->add_hidden(21);
    layer.mutable_conditioner()->mutable_mlp()->add_hidden(10);
  }
  return spec;
}

}  // namespace

FlowSpec PresetSpec(const std::string& preset, uint32_t features, uint32_t context_features, uint32_t transforms,
                    uint32_t hidden) {
  Preset options;
  options.set_name(preset);
  if (preset != "affine" && preset != "elementwise") options.set_transforms(transforms);
  if (preset != "affine" && (preset != "elementwise" || context_features > 0)) {
    options.add_hidden(hidden);
    options.add_hidden(hidden);
  }
  return *flow::ExpandPreset(options, features, context_features);
}

Model RandomModel(std::string name, FlowSpec spec, uint64_t seed) {
  for (density::v1::Layer& layer : *spec.mutable_layers()) {
    if (layer.has_standardize()) FillStandardize(*layer.mutable_standardize(), spec.features());
  }
  if (spec.has_context_preprocessing()) FillStandardize(*spec.mutable_context_preprocessing(), spec.context_features());
  Model model{std::move(name), std::move(spec), {}};
  uint64_t row = 0;
  const std::vector<flow::TensorInfo> infos = flow::FlowTensors(model.spec);
  for (const flow::TensorInfo& info : infos) {
    size_t count = 1;
    for (int64_t length : info.shape) count *= static_cast<size_t>(length);
    std::vector<float> numbers(count);
    FillStandardNormal(seed, row++, 1, count, numbers.data());
    const double scale = ScaleOf(info) * (GivesSmallNumbers(info.name, infos) ? 0.3 : 1);
    for (float& number : numbers) number = static_cast<float>(number * scale);
    registry::Tensor tensor{info.name, registry::DType::kF32, info.shape, {}};
    tensor.data.assign(reinterpret_cast<const char*>(numbers.data()), count * sizeof(float));
    model.tensors.push_back(std::move(tensor));
  }
  return model;
}

std::vector<float> NormalRows(size_t rows, size_t cols, uint64_t seed) {
  std::vector<float> numbers(rows * cols);
  FillStandardNormal(seed, 0, rows, cols, numbers.data());
  return numbers;
}

std::vector<float> DataRows(const Model& model, size_t rows, uint64_t seed) {
  std::vector<float> numbers = NormalRows(rows, model.spec.features(), seed);
  const auto& first = model.spec.layers(0);
  if (first.has_standardize()) Unstandardize(first.standardize(), numbers);
  for (size_t i = 0; first.has_preprocessing() && i < numbers.size(); ++i) {
    const auto& columns = first.preprocessing().columns();
    const flow::ColumnForm form = flow::FormOf(columns[static_cast<int>(i % columns.size())]);
    numbers[i] = static_cast<float>(flow::MapToData(form, numbers[i]).value);
  }
  if (first.has_bijection() && first.bijection().kind() != Bijection::LEAKY_RELU_BIJECTION) {
    for (float& number : numbers) number = 0.05f + 0.9f / (1 + std::exp(-number));
  }
  return numbers;
}

std::vector<float> ContextRows(const Model& model, size_t rows, uint64_t seed) {
  std::vector<float> numbers = NormalRows(rows, model.spec.context_features(), seed);
  if (model.spec.has_context_preprocessing()) Unstandardize(model.spec.context_preprocessing(), numbers);
  const auto columns = flow::ContextColumns(model.spec.context_encoding());
  for (size_t i = 0; !columns.empty() && i < numbers.size(); ++i) {
    const flow::ContextColumn& column = columns[i % columns.size()];
    // Some of each kind: categories, unknown ones (the row after the last category), missing numbers.
    const size_t turn = i / columns.size() % 7;
    if (column.is_category()) {
      const std::vector<double>& codes = column.form.codes;
      numbers[i] = turn == 5 && column.accept_unknown ? 99 : static_cast<float>(codes[turn % codes.size()]);
    }
    if (turn == 6 && column.accept_missing) numbers[i] = std::numeric_limits<float>::quiet_NaN();
  }
  return numbers;
}

std::vector<Model> AllModels() {
  std::vector<Model> models;
  const auto add = [&models](std::string name, FlowSpec spec) {
    models.push_back(RandomModel(std::move(name), std::move(spec), 100 + models.size()));
  };
  for (const char* preset : {"affine", "elementwise", "nice", "realnvp", "maf", "iaf", "nsf_coupling", "nsf_ar"}) {
    add(std::string(preset) + "-6", PresetSpec(preset, 6, 0, 3, 64));
    add(std::string(preset) + "-5-given-3", PresetSpec(preset, 5, 3, 3, 48));
  }
  for (const char* preset : {"realnvp", "maf", "iaf", "nsf_ar"})
    add(std::string(preset) + "-43", PresetSpec(preset, 43, 0, 2, 130));
  // Wide enough for its samples to use the kernels for 4 and 8 rows.
  add("maf-6-wide", PresetSpec("maf", 6, 0, 1, 256));
  add("maf-130-narrow", PresetSpec("maf", 130, 0, 2, 96));
  add("iaf-1", PresetSpec("iaf", 1, 0, 2, 8));
  add("maf-2", PresetSpec("maf", 2, 0, 2, 8));
  add("realnvp-deep-inputs", PresetSpec("realnvp", 6, 0, 1, 900));
  const std::pair<const char*, density::v1::Activation> activations[] = {{"tanh", density::v1::TANH},
                                                                         {"gelu", density::v1::GELU},
                                                                         {"silu", density::v1::SILU},
                                                                         {"elu", density::v1::ELU},
                                                                         {"leaky-relu", density::v1::LEAKY_RELU},
                                                                         {"relu", density::v1::RELU}};
  for (const auto& [name, activation] : activations) {
    for (const char* preset : {"realnvp", "maf"}) {
      const std::string prefix = std::string(preset) + "-" + name;
      add(prefix, WithConditioner(preset, 6, 0, activation, false));
      add(prefix + "-residual-given-2", WithConditioner(preset, 6, 2, activation, true));
    }
  }
  for (const char* preset : {"realnvp", "maf", "iaf"}) {
    add(std::string(preset) + "-lu", WithMixing(preset, Preset::LU));
    add(std::string(preset) + "-random", WithMixing(preset, Preset::RANDOM_PERMUTATION));
  }
  for (const auto function : {density::v1::Affine::SOFT_CLIP, density::v1::Affine::EXP, density::v1::Affine::SOFTPLUS,
                              density::v1::Affine::SIGMOID}) {
    density::v1::Affine affine;
    affine.set_scale_function(function);
    add("affine-form-" + std::to_string(function), AffineForms(affine));
    affine.set_direction(density::v1::Affine::INVERSE);
    affine.set_reciprocal_scale(true);
    if (function == density::v1::Affine::SOFTPLUS || function == density::v1::Affine::SIGMOID) affine.set_min_scale(0);
    add("affine-form-" + std::to_string(function) + "-turned", AffineForms(affine));
  }
  for (uint32_t bins : {2, 3, 8, 10, 64}) {
    add("spline-layers-" + std::to_string(bins), SplineLayers(Spline(bins, 2 + 0.05 * bins), bins == 3 ? 2 : 0));
  }
  add("affine-layers", AffineLayers());
  add("columns-maf", PreprocessedColumns("maf", false));
  add("columns-realnvp", PreprocessedColumns("realnvp", false));
  add("columns-affine", PreprocessedColumns("affine", false));
  add("columns-scaled", PreprocessedColumns("realnvp", true));
  add("encoded-context-maf", EncodedContext("maf"));
  add("encoded-context-realnvp", EncodedContext("realnvp"));
  add("maf-deep-ordered", DeepAutoregressive(Autoregressive::DENSITY));
  add("iaf-deep-ordered", DeepAutoregressive(Autoregressive::SAMPLING));
  add("exp", WithBijection(Bijection::EXP));
  add("sigmoid", WithBijection(Bijection::SIGMOID));
  add("sigmoid-alpha", WithBijection(Bijection::SIGMOID, 0.05));
  add("softplus", WithBijection(Bijection::SOFTPLUS));
  add("tanh", WithBijection(Bijection::TANH));
  add("leaky-relu", WithBijection(Bijection::LEAKY_RELU_BIJECTION));
  for (uint32_t bins : {2, 3, 8, 10, 64}) {
    add("spline-soft-clip-" + std::to_string(bins),
        SplineLayers(SoftClipSpline(bins, 2 + 0.05 * bins), bins == 8 ? 2 : 0));
  }
  for (const char* preset : {"realnvp", "maf", "iaf"}) {
    add(std::string(preset) + "-householder", WithMixing(preset, Preset::HOUSEHOLDER));
    add(std::string(preset) + "-rotation", WithMixing(preset, Preset::ROTATION));
  }
  add("cayley", WithCayley());
  return models;
}

}  // namespace densityd::engine::cpu
