#include "server/flow/preset_check.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/flow/field_check.h"
#include "server/flow/image_check.h"
#include "server/flow/image_presets.h"
#include "server/flow/layer_check.h"
#include "server/flow/preprocessing_check.h"
#include "server/flow/univariate_check.h"

namespace densityd::flow {
namespace {

using density::v1::ImageShape;
using density::v1::Preset;

constexpr uint32_t kMaxTransforms = 128;
constexpr uint32_t kMaxRank = 256;
constexpr uint32_t kMaxLevels = 8;

struct Option {
  const char* name;
  bool is_set;
  bool applies;
};

absl::Status CheckApplicable(const Preset& preset, const PresetTraits& traits) {
  const Option options[] = {
      {"transforms", preset.has_transforms(), traits.has_transforms},
      {"mixing SAME_ORDER", preset.mixing() == Preset::SAME_ORDER, traits.has_order},
      {"mixing", preset.mixing() != Preset::MIXING_UNSPECIFIED && preset.mixing() != Preset::SAME_ORDER,
       traits.has_mixing},
      {"actnorm", preset.actnorm(), traits.has_mixing},
      {"hidden", !preset.hidden().empty(), traits.has_network},
      {"activation", preset.activation() != density::v1::ACTIVATION_UNSPECIFIED, traits.has_network},
      {"residual", preset.residual(), traits.has_network && traits.has_blocks && !traits.has_image},
      {"residual_blocks", preset.has_residual_blocks(), traits.has_network && traits.has_blocks},
      {"dropout", preset.dropout() != 0, traits.has_network && traits.has_blocks && !traits.has_image},
      {"bins", preset.has_bins(), traits.has_splines},
      {"bound", preset.has_bound(), traits.has_bound},
      {"base", preset.has_base(), traits.has_base},
      {"learnt_base", preset.learnt_base(), traits.has_base},
      {"spline_of_passed", preset.spline_of_passed(), traits.has_passed},
      {"circular", !preset.circular().empty(), traits.has_circles},
      {"components", preset.has_components(), traits.has_components},
      {"rank", preset.has_rank(), traits.has_rank},
      {"image", preset.has_image(), traits.has_image},
      {"levels", preset.has_levels(), traits.has_image},
      {"residual_options", preset.has_residual_options(), traits.has_residual_options},
      {"continuous_options", preset.has_continuous_options(), traits.has_continuous_options},
  };
  for (const Option& option : options) {
    if (!option.is_set || option.applies) continue;
    return InvalidArgument(absl::StrCat("preset.", option.name),
                           absl::StrCat("does not apply to preset '", preset.name(), "'"));
  }
  return absl::OkStatus();
}

absl::Status CheckRange(uint64_t value, uint64_t max, const std::string& field, uint64_t min = 1) {
  if (value >= min && value <= max) return absl::OkStatus();
  return InvalidArgument(field, absl::StrCat("is ", value, "; it must be ", min, " … ", max));
}

absl::Status CheckHidden(const Preset& preset, const PresetTraits& traits) {
  const bool one_width = preset.residual() || traits.has_image;
  const int max_layers = one_width ? 1 : kMaxHiddenLayers;
  const uint32_t max_units = traits.has_image ? kMaxConvolutionChannels : kMaxHiddenUnits;
  if (preset.hidden_size() > max_layers) {
    return InvalidArgument("preset.hidden",
                           absl::StrCat("has ", preset.hidden_size(), " widths; the limit is ", max_layers,
                                        one_width ? ", because a residual network has one" : ""));
  }
  for (int i = 0; i < preset.hidden_size(); ++i) {
    auto status = CheckRange(preset.hidden(i), max_units, absl::StrCat("preset.hidden[", i, "]"));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckResidual(const Preset& preset, const PresetTraits& traits) {
  if (!preset.residual() && !traits.has_image && preset.has_residual_blocks()) {
    return InvalidArgument("preset.residual_blocks", "is set, but preset.residual is not");
  }
  if (!preset.residual() && preset.dropout() != 0) {
    return InvalidArgument("preset.dropout", "is set, but preset.residual is not");
  }
  if (preset.has_residual_blocks()) {
    auto status = CheckRange(preset.residual_blocks(), kMaxResidualBlocks, "preset.residual_blocks");
    if (!status.ok()) return status;
  }
  if (preset.dropout() >= 0 && preset.dropout() < 1) return absl::OkStatus();
  return InvalidArgument("preset.dropout", absl::StrCat("is ", preset.dropout(), "; it must be within [0, 1)"));
}

absl::Status CheckSplines(const Preset& preset) {
  if (preset.has_bins()) {
    auto status = CheckRange(preset.bins(), kMaxSplineBins, "preset.bins", kMinSplineBins);
    if (!status.ok()) return status;
  }
  if (!preset.has_bound() || (preset.bound() >= kMinSplineBound && preset.bound() <= kMaxSplineBound)) {
    return absl::OkStatus();
  }
  return InvalidArgument("preset.bound", absl::StrCat("is ", preset.bound(), "; it must be within [", kMinSplineBound,
                                                      ", ", kMaxSplineBound, "]"));
}

absl::Status CheckSizes(const Preset& preset, uint32_t features) {
  if (auto status = CheckColumns(preset.circular(), features, "preset.circular"); !status.ok()) return status;
  if (preset.has_components()) {
    auto status = CheckRange(preset.components(), kMaxMixtureComponents, "preset.components", kMinMixtureComponents);
    if (!status.ok()) return status;
  }
  return preset.has_rank() ? CheckRange(preset.rank(), std::min(features, kMaxRank), "preset.rank") : absl::OkStatus();
}

absl::Status CheckCircles(const Preset& preset, uint32_t features) {
  using density::v1::ColumnPreprocessing;
  const auto& columns = preset.preprocessing().columns();
  for (int i = 0; i < columns.size(); ++i) {
    const bool is_angle =
        preset.circular().empty() || std::count(preset.circular().begin(), preset.circular().end(), i);
    const auto kind = columns[i].kind();
    if (!is_angle || kind == ColumnPreprocessing::CIRCULAR || kind == ColumnPreprocessing::KIND_UNSPECIFIED) continue;
    return InvalidArgument(
        absl::StrCat("preset.preprocessing.columns[", i, "].kind"),
        absl::StrCat("is ", ColumnPreprocessing::Kind_Name(kind), ", but preset.circular makes the column an angle"));
  }
  return CheckPreprocessing(preset.preprocessing(), features, ColumnRole::kFeatures, "preset.preprocessing");
}

absl::Status CheckPreprocessed(const Preset& preset, const PresetTraits& traits, uint32_t features) {
  if (preset.no_standardize() && (preset.has_preprocessing() || preset.has_context_encoding())) {
    return InvalidArgument("preset.no_standardize", "is set, and so is what takes the place of the standardisation");
  }
  if (traits.has_circles) return CheckCircles(preset, features);
  return CheckPreprocessing(preset.preprocessing(), features, ColumnRole::kFeatures, "preset.preprocessing");
}

// The image, and whether it can be halved as often as the levels ask for.
absl::Status CheckImage(const Preset& preset, const PresetTraits& traits, uint32_t features) {
  if (!traits.has_image) return absl::OkStatus();
  if (!preset.has_image()) {
    return InvalidArgument("preset.image", absl::StrCat("is not set; '", preset.name(),
                                                        "' must know channels, height and width of the image"));
  }
  const ImageShape& image = preset.image();
  if (auto status = CheckImageShape(image, features, "preset.image"); !status.ok()) return status;
  const uint32_t levels = PresetLevels(preset);
  if (auto status = CheckRange(levels, kMaxLevels, "preset.levels"); !status.ok()) return status;
  const int squeezes = static_cast<int>(levels) + traits.squeezes;
  int most = 0;
  while (most < squeezes && (image.height() | image.width()) % (2u << most) == 0) ++most;
  if (most == squeezes) return absl::OkStatus();
  return InvalidArgument("preset.levels",
                         absl::StrCat("is ", levels, ", so that height and width are halved ", squeezes,
                                      " times; those of ", image.height(), " x ", image.width(), " can be ", most,
                                      " times. Take fewer levels, or pad the images"));
}

absl::Status CheckEnums(const Preset& preset) {
  if (!Preset::Mixing_IsValid(preset.mixing())) {
    return InvalidArgument("preset.mixing", absl::StrCat("has the unknown value ", preset.mixing()));
  }
  if (!density::v1::Activation_IsValid(preset.activation())) {
    return InvalidArgument("preset.activation", absl::StrCat("has the unknown value ", preset.activation()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckPreset(const Preset& preset, const PresetTraits& traits, uint32_t features) {
  if (auto status = CheckApplicable(preset, traits); !status.ok()) return status;
  if (preset.has_transforms()) {
    auto status = CheckRange(preset.transforms(), kMaxTransforms, "preset.transforms");
    if (!status.ok()) return status;
  }
  if (auto status = CheckHidden(preset, traits); !status.ok()) return status;
  if (auto status = CheckResidual(preset, traits); !status.ok()) return status;
  if (auto status = CheckEnums(preset); !status.ok()) return status;
  if (auto status = CheckSplines(preset); !status.ok()) return status;
  if (auto status = CheckSizes(preset, features); !status.ok()) return status;
  if (auto status = CheckImage(preset, traits, features); !status.ok()) return status;
  if (auto status = CheckPreprocessed(preset, traits, features); !status.ok()) return status;
  if (preset.has_base() && preset.learnt_base()) {
    return InvalidArgument("preset.learnt_base", "is set, and so is preset.base; one of them says what z is");
  }
  if (features >= traits.min_features) return absl::OkStatus();
  return InvalidArgument("preset.name", absl::StrCat("'", preset.name(), "' needs at least ", traits.min_features,
                                                     " features; there is ", features, ". 'maf' works with one"));
}

}  // namespace densityd::flow
