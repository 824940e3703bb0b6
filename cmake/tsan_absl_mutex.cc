// Tells ThreadSanitizer about absl::Mutex.
//
// The system's Abseil is not instrumented, so ThreadSanitizer sees neither its locks nor the order that they make, and
// would report every variable that a mutex guards. In a build with -fsanitize=thread the linker routes the project's
// calls (--wrap) through these functions, which announce them. Reads by conditions that Abseil evaluates inside its own
// calls are left out by the announcements.
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/mutex.h"

// Mangled names: absl::Mutex::Lock() and so on, in Debian's inline namespace. The names tell the linker which calls are
// meant; identifiers of this form are its, not ours.
#define REAL(name) __real__ZN4absl7debian35Mutex##name
#define WRAP(name) __wrap__ZN4absl7debian35Mutex##name

extern "C" {

void REAL(4LockEv)(absl::Mutex* mutex);
void WRAP(4LockEv)(absl::Mutex* mutex) {
  __tsan_mutex_pre_lock(mutex, 0);
  REAL(4LockEv)(mutex);
  __tsan_mutex_post_lock(mutex, 0, 0);
}

void REAL(6UnlockEv)(absl::Mutex* mutex);
void WRAP(6UnlockEv)(absl::Mutex* mutex) {
  __tsan_mutex_pre_unlock(mutex, 0);
  REAL(6UnlockEv)(mutex);
  __tsan_mutex_post_unlock(mutex, 0);
}

void REAL(8LockWhenERKNS0_9ConditionE)(absl::Mutex* mutex, const absl::Condition& condition);
void WRAP(8LockWhenERKNS0_9ConditionE)(absl::Mutex* mutex, const absl::Condition& condition) {
  __tsan_mutex_pre_lock(mutex, 0);
  REAL(8LockWhenERKNS0_9ConditionE)(mutex, condition);
  __tsan_mutex_post_lock(mutex, 0, 0);
}

void REAL(5AwaitERKNS0_9ConditionE)(absl::Mutex* mutex, const absl::Condition& condition);
void WRAP(5AwaitERKNS0_9ConditionE)(absl::Mutex* mutex, const absl::Condition& condition) {
  __tsan_mutex_pre_unlock(mutex, 0);
  REAL(5AwaitERKNS0_9ConditionE)(mutex, condition);
  __tsan_mutex_post_unlock(mutex, 0);
  __tsan_mutex_pre_lock(mutex, 0);
  __tsan_mutex_post_lock(mutex, 0, 0);
}

}  // extern "C"
