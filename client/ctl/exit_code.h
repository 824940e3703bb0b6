// The exit codes of densityctl.
#pragma once

#include "absl/status/status.h"

namespace densityd::ctl {

/// The documented exit code of an outcome; kExitCodeHelp is the documentation.
int ExitCode(const absl::Status& status);

/// Usage errors, which are found before anything runs.
inline constexpr int kUsageExitCode = 2;

inline constexpr char kExitCodeHelp[] =
    "Exit codes:\n"
    "  0  done\n"
    "  1  failed for a reason not below\n"
    "  2  wrong usage\n"
    "  3  bad input: a file, a row, an option or a name\n"
    "  4  not found: model, version, alias, training, dataset or file\n"
    "  5  unavailable, not serving, overloaded or timed out: the same may succeed later\n"
    "  6  in conflict with the current state\n"
    "  7  not allowed\n"
    "  8  stored data is damaged\n"
    "  9  the training failed or was cancelled\n";

}  // namespace densityd::ctl
