// What becomes of memory that was freed.
#pragma once

namespace densityd {

/// From now on it stays with the process: glibc would give large blocks back to the system after each request and fault
/// them in again for the next, which costs a factor of two above 128 rows. Call it before there are threads.
void KeepFreedMemory();

/// Gives back, once, the whole pages of all that is free among what is in use. Takes some milliseconds, in which other
/// threads may wait for memory. Thread-safe.
void ReturnFreedMemory();

/// While one lives, what any thread allocates in large blocks goes back to the system as soon as it is freed, and its
/// end gives back what the ending thread's arena holds. malloc_trim(0) alone leaves the top of every arena but the
/// first, which is where a model that goes as a whole ends up: with a thread for each load, each would leave one
/// behind. Thread-safe.
class GivingMemoryBack {
 public:
  GivingMemoryBack();
  ~GivingMemoryBack();
  GivingMemoryBack(const GivingMemoryBack&) = delete;
  GivingMemoryBack& operator=(const GivingMemoryBack&) = delete;
};

}  // namespace densityd
