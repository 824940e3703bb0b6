// The row that a status is about.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace densityd {

/// What InvalidRow (errors.h) was given.
struct BadRow {
  uint64_t row = 0;
  std::string message;
};

/// Of a status that InvalidRow made; nothing of other ones.
std::optional<BadRow> BadRowOf(const absl::Status& status);

}  // namespace densityd
