#include "server/flow/not_built.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace densityd::flow {
namespace {

using density::v1::Coupling;
using density::v1::FlowSpec;
using density::v1::Layer;
using density::v1::Mask;

absl::Status CheckCoupling(const Coupling& coupling, const std::string& field) {
  const bool image_mask =
      coupling.mask().pattern() >= Mask::CHECKERBOARD_EVEN && coupling.mask().pattern() <= Mask::LAST_CHANNELS;
  return image_mask ? NotBuilt(field + ".mask.pattern") : absl::OkStatus();
}

absl::Status CheckLayerKind(const Layer& layer, const std::string& field) {
  switch (layer.kind_case()) {
    case Layer::kSqueeze:
      return NotBuilt(field + ".squeeze");
    case Layer::kSplit:
      return NotBuilt(field + ".split");
    case Layer::kInvertibleConvolution:
      return NotBuilt(field + ".invertible_convolution");
    default:
      return absl::OkStatus();
  }
}

absl::Status CheckLayer(const Layer& layer, const std::string& field) {
  switch (layer.kind_case()) {
    case Layer::kCoupling:
      return CheckCoupling(layer.coupling(), field + ".coupling");
    case Layer::kActnorm:
      return layer.actnorm().per_channel() ? NotBuilt(field + ".actnorm.per_channel") : absl::OkStatus();
    default:
      return CheckLayerKind(layer, field);
  }
}

}  // namespace

absl::Status NotBuilt(const std::string& field) {
  return absl::UnimplementedError(absl::StrCat(field, ": is defined, but not built yet"));
}

absl::Status CheckBuilt(const FlowSpec& spec, const std::string& field) {
  if (spec.has_image()) return NotBuilt(field + ".image");
  for (int i = 0; i < spec.layers_size(); ++i) {
    auto status = CheckLayer(spec.layers(i), absl::StrCat(field, ".layers[", i, "]"));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

bool IsUnbuiltPreset(std::string_view name) {
  static constexpr std::string_view kNames[] = {"glow", "realnvp_image"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

}  // namespace densityd::flow
