// How much memory a process may use, and has.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace densityd {

/// Bytes: the machine's memory, or what the process's control groups (version 2 or 1, such as a container's), or any
/// above them that can be seen, allow where that is less. `root` is what /proc and /sys are below, for tests.
uint64_t MachineMemory(const std::string& root = "");

/// Bytes of memory that the process `pid` (0: this one) holds, pages of files left out; 0 where there is none.
uint64_t ProcessMemory(pid_t pid = 0);

/// The smallest limit of the control groups; the largest number where there is none.
uint64_t ControlGroupMemory(const std::string& root = "");

}  // namespace densityd
