// How locks behave in the whole process.
#pragma once

namespace densityd {

/// Release builds do without Abseil's search for deadlocks, which Debian's Abseil is built with: who takes a lock while
/// holding another one, as gRPC does all the time, looks into a graph of the whole process under a lock of its own
/// (measured: 200 ns instead of 40). Builds with assertions keep it, and so do the tests. To be called first in main.
void ConfigureLocks();

}  // namespace densityd
