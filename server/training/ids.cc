#include "server/training/ids.h"

#include <cstdint>
#include <random>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"

namespace densityd::training {

std::string NewId(std::string_view prefix, absl::Time time) {
  std::random_device entropy;
  const uint32_t digits = entropy();
  return absl::StrCat(ToAbsl(prefix), "-", absl::FormatTime("%Y%m%d-%H%M%S", time, absl::UTCTimeZone()), "-",
                      absl::Hex(digits, absl::kZeroPad8));
}

}  // namespace densityd::training
