// densityctl as a function, so that tests can run it in their own process.
#pragma once

#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "client/ctl/session.h"

namespace densityd::ctl {

/// Declares the whole command line: the flags of the connection and every command. `session` must outlive `app`.
void DefineCommandLine(CLI::App& app, Session& session);

/// Runs densityctl with the arguments after the program's name; returns its exit code.
int Run(const std::vector<std::string>& arguments, const Streams& streams);

}  // namespace densityd::ctl
