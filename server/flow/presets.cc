// The named models of the literature, each as a short function from options to a chain of layers.
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/errors.h"
#include "server/flow/preset_check.h"
#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

using density::v1::Autoregressive;
using density::v1::Conditioner;
using density::v1::FlowSpec;
using density::v1::Layer;
using density::v1::Mask;
using density::v1::Permutation;
using density::v1::Preset;
using density::v1::Univariate;

constexpr uint32_t kDefaultWidth = 128;

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

// Autoregressive layers whose order alternates, unless permutations mix the columns.
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

void AddMaf(const Preset& preset, FlowSpec& spec) {
  AddAutoregressive(preset, 5, Affine(), Autoregressive::DENSITY, spec);
}

void AddIaf(const Preset& preset, FlowSpec& spec) {
  AddAutoregressive(preset, 5, Affine(), Autoregressive::SAMPLING, spec);
}

void AddNsfCoupling(const Preset& preset, FlowSpec& spec) { AddCouplings(preset, 8, Spline(preset), spec); }

void AddNsfAutoregressive(const Preset& preset, FlowSpec& spec) {
  AddAutoregressive(preset, 5, Spline(preset), Autoregressive::DENSITY, spec);
}

struct Recipe {
  std::function<void(const Preset&, FlowSpec&)> add_layers;
  PresetTraits traits;
};

const std::map<std::string, Recipe, std::less<>>& Recipes() {
  static const auto& recipes = *new std::map<std::string, Recipe, std::less<>>{
      {"affine", {AddFullAffine, {.has_network = false, .has_transforms = false}}},
      {"elementwise", {AddElementwise, {.has_transforms = false}}},
      {"nice", {AddNice, {.min_features = 2}}},
      {"realnvp", {AddRealNvp, {.min_features = 2}}},
      {"maf", {AddMaf, {}}},
      {"iaf", {AddIaf, {}}},
      {"nsf_coupling", {AddNsfCoupling, {.has_splines = true, .min_features = 2}}},
      {"nsf_ar", {AddNsfAutoregressive, {.has_splines = true}}},
  };
  return recipes;
}

std::string KnownNames() {
  return absl::StrJoin(Recipes(), ", ", [](std::string* out, const auto& recipe) { out->append(recipe.first); });
}

}  // namespace

absl::StatusOr<FlowSpec> ExpandPreset(const Preset& preset, uint32_t features, uint32_t context_features) {
  const auto recipe = Recipes().find(preset.name());
  if (recipe == Recipes().end()) {
    return InvalidArgument("preset.name", absl::StrCat("'", preset.name(), "' is unknown; known are ", KnownNames()));
  }
  if (auto status = CheckPreset(preset, recipe->second.traits, features); !status.ok()) return status;
  FlowSpec spec;
  spec.set_features(features);
  spec.set_context_features(context_features);
  if (preset.learnt_base()) spec.mutable_base()->mutable_diagonal_normal();
  if (!preset.no_standardize()) {
    spec.add_layers()->mutable_standardize();
    if (context_features > 0) spec.mutable_context_preprocessing();
  }
  recipe->second.add_layers(preset, spec);
  // What is left to check has the same limits as in any spec: the number of features and of parameters.
  if (auto status = CheckFlowSpec(spec, "preset"); !status.ok()) return status;
  return WithDefaults(std::move(spec));
}

}  // namespace densityd::flow
