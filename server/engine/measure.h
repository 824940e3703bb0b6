// Measures what runs of a plan cost on this machine.
#pragma once

#include <functional>

#include "absl/time/time.h"
#include "server/engine/plan.h"

namespace densityd::engine {

/// What measuring a plan may take when it is loaded. A plan of usual size needs less.
inline constexpr absl::Duration kMeasureBudget = absl::Milliseconds(25);

/// Sets the run times of `plan`: runs each operation a few times with 1, 8, 64 and tile_rows rows of noise, and takes
/// the shortest time of each. What would go beyond `budget` is not run: an operation without any measurement is derived
/// from the others by its multiply-adds. Only the cheapest operation's single row is run whatever it takes. Where a run
/// fails nothing more is measured. `seconds_now` is a clock that never goes back.
void MeasureRunTimes(Plan& plan, absl::Duration budget, const std::function<double()>& seconds_now);

/// The same with the budget and the clock of a server: a CPU plan is measured by the time for which it had a core.
void MeasureRunTimes(Plan& plan);

}  // namespace densityd::engine
