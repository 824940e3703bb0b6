// The version of this build.
#pragma once

namespace densityd {

/// "0.1.0", from the project's CMakeLists.txt.
inline constexpr char kVersion[] = DENSITYD_VERSION;

}  // namespace densityd
