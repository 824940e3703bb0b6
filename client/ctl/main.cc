// densityctl: the command line tool of densityd.
#include <sys/ioctl.h>
#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "client/ctl/ctl.h"

namespace {

/// The width of the terminal that the standard error is; 0 where it is none.
int TerminalColumns() {
  constexpr int kUsualColumns = 80;
  if (isatty(STDERR_FILENO) == 0) return 0;
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUsualColumns;
  return size.ws_col;
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  const densityd::ctl::Streams streams = {
      .in = std::cin, .out = std::cout, .err = std::cerr, .err_columns = TerminalColumns()};
  return densityd::ctl::Run(std::vector<std::string>(argv + 1, argv + argc), streams);
}
