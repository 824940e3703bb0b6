// Tells ThreadSanitizer about absl::Mutex and absl::Notification.
//
// The system's Abseil is not instrumented, so ThreadSanitizer sees neither its locks nor the order that they make, and
// would report every variable that a mutex guards. In a build with -fsanitize=thread the linker routes the project's
// calls (--wrap) through these functions, which announce them. Reads by conditions that Abseil evaluates inside its own
// calls are left out by the announcements.
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

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

// While it waits the mutex is others'; whether the condition held changes nothing.
#define WRAP_AWAIT_UNTIL(name, Until)                                                   \
  bool REAL(name)(absl::Mutex * mutex, const absl::Condition& condition, Until until);  \
  bool WRAP(name)(absl::Mutex * mutex, const absl::Condition& condition, Until until) { \
    __tsan_mutex_pre_unlock(mutex, 0);                                                  \
    const bool held = REAL(name)(mutex, condition, until);                              \
    __tsan_mutex_post_unlock(mutex, 0);                                                 \
    __tsan_mutex_pre_lock(mutex, 0);                                                    \
    __tsan_mutex_post_lock(mutex, 0, 0);                                                \
    return held;                                                                        \
  }
WRAP_AWAIT_UNTIL(16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE, absl::Duration)
WRAP_AWAIT_UNTIL(17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE, absl::Time)

void REAL(10ReaderLockEv)(absl::Mutex* mutex);
void WRAP(10ReaderLockEv)(absl::Mutex* mutex) {
  __tsan_mutex_pre_lock(mutex, __tsan_mutex_read_lock);
  REAL(10ReaderLockEv)(mutex);
  __tsan_mutex_post_lock(mutex, __tsan_mutex_read_lock, 0);
}

void REAL(12ReaderUnlockEv)(absl::Mutex* mutex);
void WRAP(12ReaderUnlockEv)(absl::Mutex* mutex) {
  __tsan_mutex_pre_unlock(mutex, __tsan_mutex_read_lock);
  REAL(12ReaderUnlockEv)(mutex);
  __tsan_mutex_post_unlock(mutex, __tsan_mutex_read_lock);
}

#define REAL_NOTIFICATION(name) __real__ZN4absl7debian312Notification##name
#define WRAP_NOTIFICATION(name) __wrap__ZN4absl7debian312Notification##name
#define REAL_CONST_NOTIFICATION(name) __real__ZNK4absl7debian312Notification##name
#define WRAP_CONST_NOTIFICATION(name) __wrap__ZNK4absl7debian312Notification##name

/// What HasBeenNotified, which is inline, reads: it follows the mutex.
static void* Flag(const absl::Notification* notification) {
  return const_cast<char*>(reinterpret_cast<const char*>(notification)) + sizeof(absl::Mutex);
}

void REAL_NOTIFICATION(6NotifyEv)(absl::Notification* notification);
void WRAP_NOTIFICATION(6NotifyEv)(absl::Notification* notification) {
  __tsan_release(Flag(notification));
  REAL_NOTIFICATION(6NotifyEv)(notification);
}

void REAL_CONST_NOTIFICATION(19WaitForNotificationEv)(const absl::Notification* notification);
void WRAP_CONST_NOTIFICATION(19WaitForNotificationEv)(const absl::Notification* notification) {
  REAL_CONST_NOTIFICATION(19WaitForNotificationEv)(notification);
  __tsan_acquire(Flag(notification));
}

bool REAL_CONST_NOTIFICATION(30WaitForNotificationWithTimeoutENS0_8DurationE)(const absl::Notification* notification,
                                                                              absl::Duration timeout);
bool WRAP_CONST_NOTIFICATION(30WaitForNotificationWithTimeoutENS0_8DurationE)(const absl::Notification* notification,
                                                                              absl::Duration timeout) {
  const bool notified = REAL_CONST_NOTIFICATION(30WaitForNotificationWithTimeoutENS0_8DurationE)(notification, timeout);
  if (notified) __tsan_acquire(Flag(notification));
  return notified;
}

}  // extern "C"
