// Lists for people: aligned columns under a heading.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace densityd::ctl {

/// Prints `rows` under `heading`, each cell as wide as the widest of its column. Every row has heading.size() cells.
void PrintTable(std::ostream& out, const std::vector<std::string>& heading,
                const std::vector<std::vector<std::string>>& rows);

/// "1.4 MiB".
std::string FormatBytes(uint64_t bytes);

/// "41.2k", "3.1M"; for rates.
std::string FormatCount(double count);

}  // namespace densityd::ctl
