// One call of a streaming row RPC: chunks of rows that are computed at the same time and answered in order.
//
//   chunk: begun -> (prepared, queued, computed) -> written, when those before it are
//
// Flow control: a stream begins a chunk only where it has room, which is for two, or for many small ones: while one is
// being written the next is computed. A write that a slow reader holds up so holds up the stream, at a cost that does
// not depend on the stream's length. To the scheduler a chunk is a request like any other of the same caller.
//
// Threads: chunks begin on the worker that posted the call; Done of a chunk may run on any worker.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/alarm.h"
#include "grpcpp/support/status.h"
#include "server/rpc/row_request.h"
#include "server/rpc/worker_call.h"
#include "server/serving/row_job.h"

namespace densityd::rpc {

class RowStream : public WorkerCall {
 public:
  RowStream(RowWorker& worker, telemetry::RpcMethod method);

  /// The server stops: begins no more chunks, and ends with UNAVAILABLE after those that it has, unless they are the
  /// last. On the worker's thread.
  void EndEarly();

 protected:
  /// A chunk on its way. Derived classes add its messages.
  class Chunk : public serving::RowJob {
   public:
    void Done(absl::Status status) final;

   private:
    friend class RowStream;
    std::shared_ptr<PostedCall> queued_;  ///< the stream, while the scheduler has the chunk
    RowStream* stream_ = nullptr;
    RowRequest rows_;
    uint64_t index_ = 0;      ///< of the chunk in the stream
    uint64_t first_row_ = 0;  ///< of the chunk in the stream
    // Guarded by the stream's mutex.
    bool done_ = false;
    absl::Status status_;
  };

  /// The call has arrived: checks what it asks, or Fails.
  virtual void Start() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;
  /// Begins what there is room for, by Append. Called whenever that may have changed, on the worker's thread.
  virtual void Continue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;
  /// A message of the caller came, or (not ok) there are no more.
  virtual void OnRead(bool /*ok*/) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {}
  /// Writes the chunk's answer.
  virtual void Write(Chunk& chunk, grpc::WriteOptions options, Tag* written) = 0;
  virtual void Finish(const grpc::Status& status, Tag* finished) = 0;

  /// Whether another chunk may begin now.
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Whether no chunk is wanted any more.
  bool IsOver() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return finished_ || stopped_ || !error_.ok(); }
  /// Queues a chunk whose messages are in place. One that could not be prepared ends the stream in its turn, with its
  /// place before the message.
  void Append(std::unique_ptr<Chunk> chunk, absl::StatusOr<RowRequest> rows) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// No further chunk will begin; the stream ends after those that did.
  void EndInput() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { input_ended_ = true; }
  /// A chunk that was written and can be used again, or null.
  std::unique_ptr<Chunk> TakeSpare() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Ends the stream with an error, without the chunks that are not written.
  void Fail(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;

 private:
  void Begin() final;
  void OnCancelled() final;
  void OnEvent(Event event, bool ok) final;

  /// Writes what is ready, and finishes where all is done.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Advances and begins what there is room for.
  void GoOn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Submit(Chunk& chunk) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnWritten(bool ok) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishOnce(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status StoppedStatus() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  std::deque<std::unique_ptr<Chunk>> chunks_ ABSL_GUARDED_BY(mutex_);  ///< begun and not written, in order
  std::vector<std::unique_ptr<Chunk>> spare_ ABSL_GUARDED_BY(mutex_);
  uint64_t chunks_begun_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t rows_begun_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t chunks_written_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t rows_written_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;  ///< of chunks_
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool input_ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;  ///< by EndEarly
  absl::Status error_ ABSL_GUARDED_BY(mutex_);    ///< what the stream ends with once nothing is being written
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  // A chunk that the scheduler had no room for; it is the last one, and is offered again when the alarm goes off.
  Chunk* refused_ ABSL_GUARDED_BY(mutex_) = nullptr;
  absl::Duration backoff_ ABSL_GUARDED_BY(mutex_);
  grpc::Alarm alarm_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::rpc
