// density.v1.Matrix, as it travels, seen as rows.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "density/v1/matrix.pb.h"
#include "server/base/matrix.h"

namespace densityd {

/// The rows of `message` in place: valid as long as the message, and unaligned. Empty (data == nullptr) where nothing
/// is set. INVALID_ARGUMENT for `field`: several of `values`, `f32_le` and `f64_le` are set, rows * cols overflows, or
/// they hold another count of numbers. Numbers are not looked at.
absl::StatusOr<ConstMatrix> ViewMatrix(const density::v1::Matrix& message, std::string_view field);

}  // namespace densityd
