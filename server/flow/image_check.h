// Checks of a FlowSpec's image, and of what needs one. Each returns INVALID_ARGUMENT with the path `field`, or of what
// is wrong below it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"
#include "server/flow/row_shape.h"

namespace densityd::flow {

inline constexpr uint32_t kMaxConvolutionChannels = 1024;

/// An image of D = `features` numbers.
absl::Status CheckImageShape(const density::v1::ImageShape& image, uint32_t features, const std::string& field);

/// That the rows are images.
absl::Status CheckIsImage(const RowShape& shape, const std::string& field);

/// That they have even sides.
absl::Status CheckSqueeze(const RowShape& shape, const std::string& field);

/// That there are two halves: of the channels, or of the columns.
absl::Status CheckSplittable(const RowShape& shape, const std::string& field);

/// A coupling's mask, which transforms some and passes some.
absl::Status CheckMask(const density::v1::Mask& mask, const RowShape& shape, const std::string& field);

/// A network of convolutions.
absl::Status CheckConvResNet(const density::v1::ConvResNet& network, const RowShape& shape, const std::string& field);

}  // namespace densityd::flow
