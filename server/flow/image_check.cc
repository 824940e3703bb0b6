#include "server/flow/image_check.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/flow/field_check.h"
#include "server/flow/layer_check.h"

namespace densityd::flow {
namespace {

using density::v1::ConvResNet;
using density::v1::ImageShape;
using density::v1::Mask;

constexpr uint32_t kMaxImageSide = 65536;

// "4 x 14 x 14", "5 columns".
std::string Describe(const RowShape& shape) {
  return shape.is_image() ? absl::StrCat(shape.channels, " x ", shape.height, " x ", shape.width)
                          : absl::StrCat(shape.columns, " columns");
}

}  // namespace

absl::Status CheckImageShape(const ImageShape& image, uint32_t features, const std::string& field) {
  const std::pair<const char*, uint32_t> sides[] = {
      {".channels", image.channels()}, {".height", image.height()}, {".width", image.width()}};
  uint64_t numbers = 1;
  for (const auto& [name, side] : sides) {
    if (side == 0 || side > kMaxImageSide) {
      return InvalidArgument(field + name, absl::StrCat("is ", side, "; it must be 1 … ", kMaxImageSide));
    }
    numbers *= side;
  }
  if (numbers == features) return absl::OkStatus();
  return InvalidArgument(field, absl::StrCat(image.channels(), " x ", image.height(), " x ", image.width(), " are ",
                                             numbers, " numbers, but there are ", features, " features"));
}

absl::Status CheckIsImage(const RowShape& shape, const std::string& field) {
  return shape.is_image() ? absl::OkStatus()
                          : InvalidArgument(field, "needs an image, but the flow's `image` is not set");
}

absl::Status CheckSqueeze(const RowShape& shape, const std::string& field) {
  if (auto status = CheckIsImage(shape, field); !status.ok()) return status;
  if (shape.height % 2 == 0 && shape.width % 2 == 0) return absl::OkStatus();
  return InvalidArgument(field, absl::StrCat("is given ", Describe(shape), "; height and width must be even"));
}

absl::Status CheckSplittable(const RowShape& shape, const std::string& field) {
  if ((shape.is_image() ? shape.channels : shape.columns) >= 2) return absl::OkStatus();
  return InvalidArgument(field, absl::StrCat("is given ", Describe(shape), "; there must be at least two ",
                                             shape.is_image() ? "channels" : "columns", " to split"));
}

absl::Status CheckMask(const Mask& mask, const RowShape& shape, const std::string& field) {
  if (!Mask::Pattern_IsValid(mask.pattern())) return UnknownEnum(field + ".pattern", mask.pattern());
  if (mask.transformed().empty() && IsImagePattern(mask.pattern())) {
    if (auto status = CheckIsImage(shape, field + ".pattern"); !status.ok()) return status;
  }
  if (auto status = CheckColumns(mask.transformed(), shape.columns, field + ".transformed"); !status.ok()) {
    return status;
  }
  const auto transformed = static_cast<int64_t>(TransformedColumns(mask, shape).size());
  if (transformed > 0 && transformed < shape.columns) return absl::OkStatus();
  return InvalidArgument(field, absl::StrCat("transforms ", transformed, " of ", shape.columns, " columns",
                                             shape.is_image() ? absl::StrCat(" (", Describe(shape), ")") : "",
                                             "; at least one must be transformed and at least one must pass"));
}

absl::Status CheckConvResNet(const ConvResNet& network, const RowShape& shape, const std::string& field) {
  if (auto status = CheckIsImage(shape, field); !status.ok()) return status;
  if (auto status = CheckCount(network.channels(), 1, kMaxConvolutionChannels, field + ".channels"); !status.ok()) {
    return status;
  }
  if (auto status = CheckCount(network.blocks(), 1, kMaxResidualBlocks, field + ".blocks"); !status.ok()) return status;
  if (!Activation_IsValid(network.activation())) return UnknownEnum(field + ".activation", network.activation());
  return absl::OkStatus();
}

}  // namespace densityd::flow
