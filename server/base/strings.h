// Small helpers for text.
#pragma once

#include <string>
#include <string_view>

#include "absl/strings/string_view.h"

namespace densityd {

/// abseil's view of `text`: a type of its own where abseil was built for C++14, as Debian's is.
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

/// The standard view of `text`.
inline std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

/// `text` in double quotes for a message: bytes outside printable ASCII are escaped, and what is longer than `limit`
/// bytes is cut and its length given. Outside text goes into messages and logs through this.
std::string Quote(std::string_view text, size_t limit = 80);

}  // namespace densityd
