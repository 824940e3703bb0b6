// Which presets there are.
#pragma once

#include <string>
#include <vector>

namespace densityd::flow {

/// Every name that ExpandPreset (spec.h) knows, sorted.
std::vector<std::string> PresetNames();

}  // namespace densityd::flow
