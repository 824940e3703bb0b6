// How much memory this process may use.
#pragma once

#include <cstdint>
#include <string>

namespace densityd {

/// Bytes: the machine's memory, or what the process's control groups (version 2 or 1, such as a container's), or any
/// above them that can be seen, allow where that is less. `root` is what /proc and /sys are below, for tests.
uint64_t MachineMemory(const std::string& root = "");

/// The smallest limit of the control groups; the largest number where there is none.
uint64_t ControlGroupMemory(const std::string& root = "");

}  // namespace densityd
