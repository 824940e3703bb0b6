// Tells ThreadSanitizer that what was done before an operation began on a gRPC queue has happened when the queue hands
// out its tag.
//
// The system's gRPC is not instrumented: ThreadSanitizer sees neither its locks nor its atomics, and would report all
// that one thread leaves in a call and another one finds there. A program's functions go before those of shared
// libraries, so these are called instead of gRPC's, by libgrpc++ too, and call them.
//
// Where client and server are one process and share variables, as with a test's fake server, what one side did before
// it sent a message has happened when the other one has it. Which message led to which event cannot be seen here: with
// DENSITYD_TSAN_ONE_PROCESS set, all that was sent before counts. That hides races between threads that use gRPC, and
// is for the tests of the client alone.
#include <dlfcn.h>
#include <grpc/grpc.h>
#include <sanitizer/tsan_interface.h>

#include <cstdlib>

namespace {

char messages;

bool IsOneProcess() {
  static const bool is_one = std::getenv("DENSITYD_TSAN_ONE_PROCESS") != nullptr;
  return is_one;
}

/// gRPC's function of this name.
template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

void Begun(void* tag) {
  __tsan_release(tag);
  if (IsOneProcess()) __tsan_release(&messages);
}

grpc_event HandedOut(grpc_event event) {
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  if (IsOneProcess()) __tsan_acquire(&messages);
  return event;
}

}  // namespace

extern "C" {

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t count, void* tag, void* reserved) {
  static const auto next = Next<decltype(grpc_call_start_batch)>("grpc_call_start_batch");
  Begun(tag);
  return next(call, ops, count, tag, reserved);
}

grpc_call_error grpc_server_request_call(grpc_server* server, grpc_call** call, grpc_call_details* details,
                                         grpc_metadata_array* metadata, grpc_completion_queue* for_call,
                                         grpc_completion_queue* for_notification, void* tag) {
  static const auto next = Next<decltype(grpc_server_request_call)>("grpc_server_request_call");
  Begun(tag);
  return next(server, call, details, metadata, for_call, for_notification, tag);
}

grpc_call_error grpc_server_request_registered_call(grpc_server* server, void* method, grpc_call** call,
                                                    gpr_timespec* deadline, grpc_metadata_array* metadata,
                                                    grpc_byte_buffer** payload, grpc_completion_queue* for_call,
                                                    grpc_completion_queue* for_notification, void* tag) {
  static const auto next = Next<decltype(grpc_server_request_registered_call)>("grpc_server_request_registered_call");
  Begun(tag);
  return next(server, method, call, deadline, metadata, payload, for_call, for_notification, tag);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline, void* reserved) {
  static const auto next = Next<decltype(grpc_completion_queue_next)>("grpc_completion_queue_next");
  return HandedOut(next(queue, deadline, reserved));
}

grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue, void* tag, gpr_timespec deadline, void* reserved) {
  static const auto next = Next<decltype(grpc_completion_queue_pluck)>("grpc_completion_queue_pluck");
  return HandedOut(next(queue, tag, deadline, reserved));
}

}  // extern "C"

// An alarm's tag is another one until libgrpc++ has taken it from the queue.

/// grpc::Alarm::SetInternal(grpc::CompletionQueue*, gpr_timespec, void*), by the name that the linker knows.
void SetAlarm(void* alarm, void* queue, gpr_timespec deadline,
              void* tag) __asm__("_ZN4grpc5Alarm11SetInternalEPNS_15CompletionQueueE12gpr_timespecPv");
void SetAlarm(void* alarm, void* queue, gpr_timespec deadline, void* tag) {
  static const auto next =
      Next<decltype(SetAlarm)>("_ZN4grpc5Alarm11SetInternalEPNS_15CompletionQueueE12gpr_timespecPv");
  Begun(tag);
  next(alarm, queue, deadline, tag);
}

/// grpc::CompletionQueue::AsyncNextInternal(void**, bool*, gpr_timespec).
int TakeNext(void* queue, void** tag, bool* ok,
             gpr_timespec deadline) __asm__("_ZN4grpc15CompletionQueue17AsyncNextInternalEPPvPb12gpr_timespec");
int TakeNext(void* queue, void** tag, bool* ok, gpr_timespec deadline) {
  static const auto next = Next<decltype(TakeNext)>("_ZN4grpc15CompletionQueue17AsyncNextInternalEPPvPb12gpr_timespec");
  const int status = next(queue, tag, ok, deadline);
  constexpr int kGotEvent = 1;
  if (status == kGotEvent) __tsan_acquire(*tag);
  return status;
}
