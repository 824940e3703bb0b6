#include "client/ctl/text_table.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace densityd::ctl {
namespace {

void PrintRow(std::ostream& out, const std::vector<std::string>& cells, const std::vector<size_t>& widths) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    line += cells[i];
    if (i + 1 < cells.size()) line.append(widths[i] - cells[i].size() + 2, ' ');
  }
  out << line << "\n";
}

}  // namespace

void PrintTable(std::ostream& out, const std::vector<std::string>& heading,
                const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (size_t i = 0; i < heading.size(); ++i) {
    size_t width = heading[i].size();
    for (const std::vector<std::string>& row : rows) width = std::max(width, row[i].size());
    widths.push_back(width);
  }
  PrintRow(out, heading, widths);
  for (const std::vector<std::string>& row : rows) PrintRow(out, row, widths);
}

std::string FormatBytes(uint64_t bytes) {
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  double size = static_cast<double>(bytes);
  for (absl::string_view unit : {"KiB", "MiB", "GiB"}) {
    size /= 1024;
    if (size < 1024) return absl::StrFormat("%.1f %s", size, unit);
  }
  return absl::StrFormat("%.1f TiB", size / 1024);
}

std::string FormatCount(double count) {
  if (count < 1e3) return absl::StrFormat("%.0f", count);
  if (count < 1e6) return absl::StrFormat("%.1fk", count / 1e3);
  return absl::StrFormat("%.1fM", count / 1e6);
}

}  // namespace densityd::ctl
