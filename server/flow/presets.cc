// The named models of the literature, each as a short function from options to a chain of layers.
#include <algorithm>
#include <functional>
#include <map>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/errors.h"
#include "server/flow/columns.h"
#include "server/flow/image_presets.h"
#include "server/flow/preset_check.h"
#include "server/flow/preset_names.h"
#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

using density::v1::Autoregressive;
using density::v1::Conditioner;
using density::v1::FlowSpec;
using density::v1::Layer;
using density::v1::Mask;
using density::v1::MixtureCdf;
using density::v1::Permutation;
using density::v1::Preprocessing;
using density::v1::Preset;
using density::v1::Univariate;

constexpr uint32_t kDefaultWidth = 128;
constexpr uint32_t kDefaultResidualWidth = 64;

Univariate Affine() {
  Univariate univariate;
  univariate.mutable_affine();
  return univariate;
}

Univariate Shift() {
  Univariate univariate;
  univariate.mutable_shift();
  return univariate;
}

Univariate Spline(const Preset& preset) {
  Univariate univariate;
  auto& spline = *univariate.mutable_rational_quadratic_spline();
  spline.set_bins(preset.bins());
  spline.set_bound(preset.bound());
  return univariate;
}

Conditioner Network(const Preset& preset) {
  Conditioner conditioner;
  if (preset.residual()) {
    auto& residual = *conditioner.mutable_residual_mlp();
    residual.set_hidden(preset.hidden().empty() ? kDefaultWidth : preset.hidden(0));
    residual.set_blocks(preset.has_residual_blocks() ? preset.residual_blocks() : 2);
    residual.set_activation(preset.activation());
    residual.set_dropout(preset.dropout());
    return conditioner;
  }
  auto& mlp = *conditioner.mutable_mlp();
  *mlp.mutable_hidden() = preset.hidden();
  if (mlp.hidden().empty()) mlp.mutable_hidden()->Resize(2, kDefaultWidth);
  mlp.set_activation(preset.activation());
  return conditioner;
}

// What stands between transform number `transform` - 1 and the next, seen from the data.
void AddMixing(const Preset& preset, uint32_t transform, FlowSpec& spec) {
  if (transform == 0) return;
  if (preset.actnorm()) spec.add_layers()->mutable_actnorm();
  if (preset.mixing() == Preset::RANDOM_PERMUTATION || preset.mixing() == Preset::LU) {
    Permutation& permutation = *spec.add_layers()->mutable_permutation();
    permutation.set_kind(Permutation::RANDOM);
    permutation.set_seed(preset.seed() + transform);
  }
  if (preset.mixing() == Preset::LU) spec.add_layers()->mutable_lu_linear();
  if (preset.mixing() == Preset::HOUSEHOLDER) spec.add_layers()->mutable_householder();
  if (preset.mixing() == Preset::ROTATION) spec.add_layers()->mutable_orthogonal();
}

// Coupling layers whose masks alternate.
void AddCouplings(const Preset& preset, uint32_t default_transforms, const Univariate& univariate, FlowSpec& spec) {
  const uint32_t transforms = preset.has_transforms() ? preset.transforms() : default_transforms;
  for (uint32_t i = 0; i < transforms; ++i) {
    AddMixing(preset, i, spec);
    auto& coupling = *spec.add_layers()->mutable_coupling();
    coupling.mutable_mask()->set_pattern(i % 2 == 0 ? Mask::ALTERNATING_ODD : Mask::ALTERNATING_EVEN);
    *coupling.mutable_univariate() = univariate;
    *coupling.mutable_conditioner() = Network(preset);
  }
}

// Autoregressive layers whose order alternates, unless permutations mix the columns, or nothing is to.
void AddAutoregressive(const Preset& preset, uint32_t default_transforms, const Univariate& univariate,
                       Autoregressive::ParallelDirection parallel, FlowSpec& spec) {
  const uint32_t transforms = preset.has_transforms() ? preset.transforms() : default_transforms;
  const bool alternate = preset.mixing() == Preset::MIXING_UNSPECIFIED || preset.mixing() == Preset::ALTERNATE;
  for (uint32_t i = 0; i < transforms; ++i) {
    AddMixing(preset, i, spec);
    auto& layer = *spec.add_layers()->mutable_autoregressive();
    layer.set_order(alternate && i % 2 == 1 ? Autoregressive::REVERSED : Autoregressive::NATURAL);
    layer.set_parallel(parallel);
    *layer.mutable_univariate() = univariate;
    *layer.mutable_conditioner() = Network(preset);
  }
}

void AddFullAffine(const Preset&, FlowSpec& spec) { spec.add_layers()->mutable_full_affine(); }

void AddElementwise(const Preset& preset, FlowSpec& spec) {
  auto& layer = *spec.add_layers()->mutable_elementwise();
  *layer.mutable_univariate() = Affine();
  if (spec.context_features() > 0) *layer.mutable_conditioner() = Network(preset);
}

// Additive couplings keep every volume, so the paper ends with a learnt scale per column (Dinh et al. 2014,
// section 3.3).
void AddNice(const Preset& preset, FlowSpec& spec) {
  AddCouplings(preset, 8, Shift(), spec);
  if (!preset.learnt_base()) *spec.add_layers()->mutable_elementwise()->mutable_univariate() = Affine();
}

void AddRealNvp(const Preset& preset, FlowSpec& spec) { AddCouplings(preset, 8, Affine(), spec); }

// Errors of one layer are divided by the scales of all before it. Where no rows were, scales at bounds of exp(+-3) made
// single densities as small as exp(-15,000); narrower ones make that rarer and less, and exp(+-2) costs the mean of
// some tables (docs/models.md, "Scales").
void AddMaf(const Preset& preset, FlowSpec& spec) {
  Univariate univariate = Affine();
  univariate.mutable_affine()->set_max_log_scale(2.5);
  AddAutoregressive(preset, 5, univariate, Autoregressive::DENSITY, spec);
}

void AddIaf(const Preset& preset, FlowSpec& spec) {
  AddAutoregressive(preset, 5, Affine(), Autoregressive::SAMPLING, spec);
}

void AddNsfCoupling(const Preset& preset, FlowSpec& spec) {
  AddCouplings(preset, 8, Spline(preset), spec);
  if (!preset.spline_of_passed()) return;
  for (Layer& layer : *spec.mutable_layers()) {
    if (layer.has_coupling()) *layer.mutable_coupling()->mutable_passed_univariate() = Spline(preset);
  }
}

// Columns that are angles, ascending.
Columns Angles(const Preset& preset, uint32_t features) {
  if (preset.circular().empty()) return AllColumns(features);
  Columns columns(preset.circular().begin(), preset.circular().end());
  std::sort(columns.begin(), columns.end());
  return columns;
}

void MarkCircles(const Columns& angles, uint32_t features, Preprocessing& preprocessing) {
  while (static_cast<uint32_t>(preprocessing.columns_size()) < features) preprocessing.add_columns();
  for (int64_t column : angles) {
    preprocessing.mutable_columns(static_cast<int>(column))->set_kind(density::v1::ColumnPreprocessing::CIRCULAR);
  }
}

// What touches rows and context before the layers of the preset.
void AddPreprocessing(const Preset& preset, FlowSpec& spec) {
  if (preset.has_preprocessing()) {
    *spec.add_layers()->mutable_preprocessing() = preset.preprocessing();
  } else if (preset.has_image() && !preset.no_standardize()) {
    AddPixels(spec.features(), spec);
  } else if (!preset.no_standardize()) {
    spec.add_layers()->mutable_standardize();
  }
  if (preset.has_context_encoding()) {
    *spec.mutable_context_encoding() = preset.context_encoding();
  } else if (!preset.no_standardize() && spec.context_features() > 0) {
    spec.mutable_context_preprocessing();
  }
}

// Angles are uniform on the circle in the base, and are not standardised.
void AddCircularNsf(const Preset& preset, FlowSpec& spec) {
  const Columns angles = Angles(preset, spec.features());
  const Columns numbers = OtherColumns(angles, spec.features());
  auto& groups = *spec.mutable_base()->mutable_product()->mutable_groups();
  auto& circles = *groups.Add();
  circles.mutable_columns()->Add(angles.begin(), angles.end());
  circles.mutable_base()->mutable_uniform_box()->set_low(-std::numbers::pi);
  circles.mutable_base()->mutable_uniform_box()->set_high(std::numbers::pi);
  if (!numbers.empty()) groups.Add()->mutable_columns()->Add(numbers.begin(), numbers.end());
  for (Layer& layer : *spec.mutable_layers()) {
    if (layer.has_preprocessing()) {
      MarkCircles(angles, spec.features(), *layer.mutable_preprocessing());
    } else {
      layer.mutable_standardize()->mutable_unchanged()->Add(angles.begin(), angles.end());
    }
  }
  Univariate univariate = Spline(preset);
  univariate.mutable_rational_quadratic_spline()->set_bound(std::numbers::pi);
  univariate.mutable_rational_quadratic_spline()->mutable_circular()->Add(angles.begin(), angles.end());
  AddAutoregressive(preset, 5, univariate, Autoregressive::DENSITY, spec);
}

void AddNsfAutoregressive(const Preset& preset, FlowSpec& spec) {
  AddAutoregressive(preset, 5, Spline(preset), Autoregressive::DENSITY, spec);
}

Univariate Mixture(const Preset& preset, MixtureCdf::Family family, uint32_t layers) {
  Univariate univariate;
  auto& mixture = *univariate.mutable_mixture_cdf();
  mixture.set_components(preset.components());
  mixture.set_family(family);
  mixture.set_layers(layers);
  return univariate;
}

// Marginal Gaussianization and a rotation in turn; the last rotation would turn a normal base only.
void AddGaussianization(const Preset& preset, FlowSpec& spec) {
  const uint32_t transforms = preset.has_transforms() ? preset.transforms() : 8;
  for (uint32_t i = 0; i < transforms; ++i) {
    if (i > 0 && spec.features() > 1) spec.add_layers()->mutable_orthogonal();
    auto& layer = *spec.add_layers()->mutable_elementwise();
    *layer.mutable_univariate() = Mixture(preset, MixtureCdf::NORMAL, 1);
    if (spec.context_features() > 0) *layer.mutable_conditioner() = Network(preset);
  }
}

void AddNaf(const Preset& preset, FlowSpec& spec) {
  AddAutoregressive(preset, 3, Mixture(preset, MixtureCdf::LOGISTIC, 2), Autoregressive::DENSITY, spec);
}

// `count` layers, each made by `add`.
template <typename Add>
void AddBends(const Preset& preset, uint32_t default_transforms, FlowSpec& spec, const Add& add) {
  const uint32_t transforms = preset.has_transforms() ? preset.transforms() : default_transforms;
  for (uint32_t i = 0; i < transforms; ++i) {
    AddMixing(preset, i, spec);
    add(*spec.add_layers());
  }
}

void AddPlanar(const Preset& preset, FlowSpec& spec) {
  AddBends(preset, 16, spec, [&](Layer& layer) {
    layer.mutable_planar();
    if (spec.context_features() > 0) *layer.mutable_planar()->mutable_conditioner() = Network(preset);
  });
}

void AddRadial(const Preset& preset, FlowSpec& spec) {
  AddBends(preset, 16, spec, [&](Layer& layer) {
    layer.mutable_radial();
    if (spec.context_features() > 0) *layer.mutable_radial()->mutable_conditioner() = Network(preset);
  });
}

void AddSylvester(const Preset& preset, FlowSpec& spec) {
  AddBends(preset, 4, spec, [&](Layer& layer) { layer.mutable_sylvester()->set_hidden(preset.rank()); });
}

void AddResidual(const Preset& preset, FlowSpec& spec) {
  AddBends(preset, 8, spec, [&](Layer& layer) {
    auto& residual = *layer.mutable_residual();
    residual = preset.residual_options();
    *residual.mutable_network()->mutable_hidden() = preset.hidden();
    if (preset.hidden().empty()) residual.mutable_network()->mutable_hidden()->Resize(2, kDefaultResidualWidth);
    residual.mutable_network()->set_activation(preset.activation());
  });
}

void FillContinuous(const Preset& preset, density::v1::Continuous& layer) {
  layer = preset.continuous_options();
  *layer.mutable_network()->mutable_hidden() = preset.hidden();
  if (preset.hidden().empty()) layer.mutable_network()->mutable_hidden()->Resize(2, kDefaultWidth);
  layer.mutable_network()->set_activation(preset.activation());
}

void AddFfjord(const Preset& preset, FlowSpec& spec) {
  AddBends(preset, 1, spec, [&](Layer& layer) { FillContinuous(preset, *layer.mutable_continuous()); });
}

void AddFlowMatching(const Preset& preset, FlowSpec& spec) {
  auto& layer = *spec.add_layers()->mutable_continuous();
  FillContinuous(preset, layer);
  if (layer.objective() == density::v1::Continuous::OBJECTIVE_UNSPECIFIED) {
    layer.set_objective(density::v1::Continuous::FLOW_MATCHING);
  }
}

struct Recipe {
  std::function<void(const Preset&, FlowSpec&)> add_layers;
  PresetTraits traits;
};

const std::map<std::string, Recipe, std::less<>>& Recipes() {
  static const auto& recipes = *new std::map<std::string, Recipe, std::less<>>{
      {"affine", {AddFullAffine, {.has_network = false, .has_transforms = false, .has_mixing = false}}},
      {"elementwise", {AddElementwise, {.has_transforms = false, .has_mixing = false}}},
      {"nice", {AddNice, {.min_features = 2}}},
      {"realnvp", {AddRealNvp, {.min_features = 2}}},
      {"maf", {AddMaf, {.has_order = true}}},
      {"iaf", {AddIaf, {.has_order = true}}},
      {"nsf_coupling",
       {AddNsfCoupling, {.has_splines = true, .has_bound = true, .has_passed = true, .min_features = 2}}},
      {"nsf_ar", {AddNsfAutoregressive, {.has_order = true, .has_splines = true, .has_bound = true}}},
      {"circular_nsf",
       {AddCircularNsf,
        {.has_mixing = false, .has_order = true, .has_base = false, .has_splines = true, .has_circles = true}}},
      {"gaussianization", {AddGaussianization, {.has_mixing = false, .has_components = true}}},
      {"naf", {AddNaf, {.has_order = true, .has_components = true}}},
      {"planar", {AddPlanar, {}}},
      {"radial", {AddRadial, {}}},
      {"ffjord", {AddFfjord, {.has_blocks = false, .has_continuous_options = true}}},
      {"flow_matching",
       {AddFlowMatching,
        {.has_blocks = false, .has_transforms = false, .has_mixing = false, .has_continuous_options = true}}},
      {"residual", {AddResidual, {.has_blocks = false, .has_residual_options = true}}},
      {"sylvester", {AddSylvester, {.has_network = false, .has_rank = true}}},
      {"glow", {AddGlow, {.has_mixing = false, .has_image = true, .squeezes = 0}}},
      {"realnvp_image", {AddRealNvpImage, {.has_mixing = false, .has_image = true, .squeezes = -1}}},
  };
  return recipes;
}

}  // namespace

std::vector<std::string> PresetNames() {
  std::vector<std::string> names;
  for (const auto& [name, recipe] : Recipes()) names.push_back(name);
  return names;
}

absl::StatusOr<FlowSpec> ExpandPreset(const Preset& preset, uint32_t features, uint32_t context_features) {
  const auto recipe = Recipes().find(preset.name());
  if (recipe == Recipes().end()) {
    return InvalidArgument("preset.name", absl::StrCat("'", preset.name(), "' is unknown; known are ",
                                                       absl::StrJoin(PresetNames(), ", ")));
  }
  if (auto status = CheckPreset(preset, recipe->second.traits, features); !status.ok()) return status;
  FlowSpec spec;
  spec.set_features(features);
  spec.set_context_features(context_features);
  if (preset.has_image()) *spec.mutable_image() = preset.image();
  if (preset.has_base()) *spec.mutable_base() = preset.base();
  if (preset.learnt_base()) spec.mutable_base()->mutable_diagonal_normal();
  AddPreprocessing(preset, spec);
  recipe->second.add_layers(preset, spec);
  // What is left to check has the same limits as in any spec: the number of features and of parameters.
  if (auto status = CheckFlowSpec(spec, "preset"); !status.ok()) return status;
  return WithDefaults(std::move(spec));
}

}  // namespace densityd::flow
