// Work that gives way to the threads that answer requests.
#pragma once

#include <functional>

namespace densityd {

/// Lowers the calling thread's share of a contended core to about a tenth of a usual thread's, and lets whoever wakes
/// up interrupt it at once. On an idle core it loses nothing. There is no way back without privileges: for threads of
/// one's own. Where the system refuses, or is not Linux, the thread stays as it is.
void GiveWayToOthers();

/// Runs `work` on a thread that gives way, and returns when it is done.
void RunInBackground(const std::function<void()>& work);

}  // namespace densityd
