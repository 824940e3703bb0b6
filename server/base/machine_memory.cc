#include "server/base/machine_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace densityd {
namespace {

constexpr uint64_t kNone = std::numeric_limits<uint64_t>::max();

/// The number in a file of the kernel's; kNone where there is no file, or "max" in it.
uint64_t ReadLimit(const std::string& path) {
  // Such files have no size, so that FileSystem would find nothing in them.
  std::ifstream file(path);
  std::string text;
  uint64_t limit = kNone;
  return file >> text && absl::SimpleAtoi(text, &limit) ? limit : kNone;
}

/// The least of what `file` says in the group at `path` below `mount`, and in those above it.
uint64_t LeastLimit(const std::string& mount, std::string path, const char* file) {
  uint64_t least = kNone;
  while (true) {
    least = std::min(least, ReadLimit(absl::StrCat(mount, path, "/", file)));
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return least;
    path.resize(slash);
  }
}

}  // namespace

uint64_t ControlGroupMemory(const std::string& root) {
  const std::string mounts = root + "/sys/fs/cgroup";
  std::ifstream groups(root + "/proc/self/cgroup");
  uint64_t least = kNone;
  // number:controllers:path; version 2 has no controllers there.
  for (std::string line; std::getline(groups, line);) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    if (parts[1].empty()) {
      for (const char* mount : {"", "/unified"}) {
        least = std::min(least, LeastLimit(mounts + mount, parts[2], "memory.max"));
      }
      continue;
    }
    const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
    if (std::find(controllers.begin(), controllers.end(), "memory") == controllers.end()) continue;
    least = std::min(least, LeastLimit(mounts + "/memory", parts[2], "memory.limit_in_bytes"));
  }
  return least;
}

uint64_t MachineMemory(const std::string& root) {
  const uint64_t physical =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return std::min(physical, ControlGroupMemory(root));
}

uint64_t ProcessMemory(pid_t pid) {
  std::ifstream statm(pid == 0 ? "/proc/self/statm" : absl::StrCat("/proc/", pid, "/statm"));
  uint64_t size = 0;
  uint64_t resident = 0;
  uint64_t of_files = 0;
  if (!(statm >> size >> resident >> of_files)) return 0;
  return (resident - std::min(of_files, resident)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace densityd
