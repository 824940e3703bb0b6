#include "server/rpc/row_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/rpc/row_worker.h"
#include "server/rpc/status.h"

namespace densityd::rpc {
namespace {

/// A stream has two chunks in work, and more while all of them together are small.
constexpr size_t kFewChunks = 2;
constexpr size_t kManyChunks = 64;
constexpr size_t kSmallBytes = 64 << 10;
/// Messages of chunks up to this size are used again. They do not count against the memory of requests, so a stream
/// that idles must not hold much.
constexpr size_t kSpareBytes = 256 << 10;

constexpr absl::Duration kFirstBackoff = absl::Milliseconds(10);
constexpr absl::Duration kLongestBackoff = absl::Seconds(1);

constexpr char kRetryInfo[] = "type.googleapis.com/google.rpc.RetryInfo";

absl::Status CallerGone() { return absl::CancelledError("the caller went away before the end of the stream"); }

}  // namespace

void RowStream::Chunk::Done(absl::Status status) {
  const std::shared_ptr<PostedCall> alive = std::move(queued_);
  RowStream& stream = *stream_;
  if (status.ok()) {
    thread_local std::vector<double> scratch;
    status = CompleteRows(rows_, stream.worker().index(), scratch);
  }
  absl::MutexLock lock(&stream.mutex_);
  done_ = true;
  status_ = std::move(status);
  stream.Advance();
}

RowStream::RowStream(RowWorker& worker, telemetry::RpcMethod method)
    : WorkerCall(worker, method), backoff_(kFirstBackoff) {}

void RowStream::Begin() {
  {
    absl::MutexLock lock(&mutex_);
    Start();
    GoOn();
  }
  worker().AddStream(std::static_pointer_cast<RowStream>(shared_from_this()));
}

bool RowStream::HasRoom() const {
  if (IsOver() || input_ended_ || refused_ != nullptr) return false;
  return chunks_.size() < kFewChunks || (chunks_.size() < kManyChunks && bytes_ < kSmallBytes);
}

std::unique_ptr<RowStream::Chunk> RowStream::TakeSpare() {
  if (spare_.empty()) return nullptr;
  std::unique_ptr<Chunk> chunk = std::move(spare_.back());
  spare_.pop_back();
  return chunk;
}

void RowStream::Append(std::unique_ptr<Chunk> owned, absl::StatusOr<RowRequest> rows) {
  Chunk& chunk = *owned;
  chunk.stream_ = this;
  chunk.index_ = chunks_begun_++;
  chunk.first_row_ = rows_begun_;
  chunk.done_ = false;
  chunk.cancelled.store(false, std::memory_order_relaxed);
  chunks_.push_back(std::move(owned));
  if (!rows.ok()) {
    chunk.rows_ = RowRequest();
    chunk.done_ = true;
    chunk.status_ = rows.status();
    EndInput();
    return;
  }
  chunk.rows_ = *std::move(rows);
  chunk.plan = chunk.rows_.model->plan(chunk.rows_.precision);
  chunk.op = chunk.rows_.op;
  chunk.span = chunk.rows_.span;
  chunk.bytes = chunk.rows_.bytes;
  chunk.deadline = Deadline();
  chunk.client = client_id();
  chunk.priority = rows_priority();
  rows_begun_ += chunk.span.rows;
  bytes_ += chunk.bytes;
  Submit(chunk);
}

void RowStream::Submit(Chunk& chunk) {
  chunk.queued_ = shared_from_this();
  const size_t rows = chunk.span.rows;
  absl::Status submitted = TakeRows(rows);
  if (submitted.ok()) {
    submitted = environment().scheduler->Submit(worker().index(), chunk);
    if (!submitted.ok()) ReturnRows(rows);
  }
  if (submitted.ok()) {
    refused_ = nullptr;
    backoff_ = kFirstBackoff;
    return;
  }
  chunk.queued_.reset();
  // A stream that is under way waits for room; one that begins is told to come back, as any request is.
  if (absl::IsResourceExhausted(submitted) && submitted.GetPayload(kRetryInfo).has_value() && chunk.index_ > 0) {
    refused_ = &chunk;
    alarm_.Set(&worker().queue(), absl::ToChronoTime(absl::Now() + backoff_), Arm(Event::kAlarm));
    backoff_ = std::min(2 * backoff_, kLongestBackoff);
    return;
  }
  refused_ = nullptr;
  chunk.done_ = true;
  chunk.status_ = std::move(submitted);
  EndInput();
}

void RowStream::Advance() {
  if (finished_ || writing_) return;
  if (error_.ok() && !chunks_.empty() && chunks_.front()->done_) {
    Chunk& chunk = *chunks_.front();
    if (chunk.status_.ok()) {
      // The memory of the model belongs to calls that compute.
      chunk.plan.reset();
      chunk.rows_.model.reset();
      // With what follows at once in one packet; but the first one carries the headers, and gRPC would wait for them.
      grpc::WriteOptions options;
      const bool more = chunks_.size() > 1 && chunks_[1]->done_ && chunks_[1]->status_.ok();
      if (more && chunks_written_ > 0) options.set_buffer_hint();
      writing_ = true;
      Write(chunk, options, Arm(Event::kWritten));
      return;
    }
    std::string place = absl::StrCat("chunk ", chunk.index_);
    if (chunk.first_row_ > 0) absl::StrAppend(&place, ", whose first row is row ", chunk.first_row_, " of the stream");
    error_ = Annotate(chunk.status_, place);
  }
  if (!error_.ok()) {
    FinishOnce(error_);
  } else if (chunks_.empty() && input_ended_) {
    FinishOnce(absl::OkStatus());
  } else if (chunks_.empty() && stopped_) {
    FinishOnce(StoppedStatus());
  }
}

void RowStream::FinishOnce(const absl::Status& status) {
  finished_ = true;
  // Those that still run end by themselves; those that wait are never computed.
  for (const auto& chunk : chunks_) chunk->cancelled.store(true, std::memory_order_relaxed);
  if (refused_ != nullptr) alarm_.Cancel();
  Report(status, rows_written_, Duration::kTellsNothing);
  Finish(ToGrpcStatus(status), Arm(Event::kFinished));
}

void RowStream::Fail(absl::Status status) {
  if (error_.ok()) error_ = std::move(status);
  for (const auto& chunk : chunks_) chunk->cancelled.store(true, std::memory_order_relaxed);
  Advance();
}

void RowStream::OnCancelled() {
  absl::MutexLock lock(&mutex_);
  if (environment().clock->Now() >= Deadline()) {
    Fail(absl::DeadlineExceededError(absl::StrCat("the deadline passed after ", rows_written_, " rows")));
  } else {
    Fail(CallerGone());
  }
}

void RowStream::OnEvent(Event event, bool ok) {
  absl::MutexLock lock(&mutex_);
  if (event == Event::kRead) OnRead(ok);
  if (event == Event::kWritten) OnWritten(ok);
  if (event == Event::kAlarm && refused_ != nullptr && !finished_) Submit(*refused_);
  GoOn();
}

void RowStream::GoOn() {
  Advance();
  if (finished_) return;
  Continue();
  // A chunk that could not begin ends the stream.
  Advance();
}

void RowStream::OnWritten(bool ok) {
  writing_ = false;
  std::unique_ptr<Chunk> chunk = std::move(chunks_.front());
  chunks_.pop_front();
  bytes_ -= chunk->bytes;
  chunk->memory.Release();
  if (!ok) {
    if (error_.ok()) error_ = CallerGone();
    return;
  }
  ++chunks_written_;
  rows_written_ += chunk->span.rows;
  if (spare_.size() < kFewChunks && chunk->bytes <= kSpareBytes) spare_.push_back(std::move(chunk));
}

void RowStream::EndEarly() {
  absl::MutexLock lock(&mutex_);
  if (finished_) return;
  stopped_ = true;
  if (refused_ != nullptr) {
    alarm_.Cancel();
    bytes_ -= refused_->bytes;
    refused_ = nullptr;
    chunks_.pop_back();
    input_ended_ = false;
  }
  Advance();
}

absl::Status RowStream::StoppedStatus() const {
  return absl::UnavailableError(absl::StrCat("the server stops; ", rows_written_, " rows were answered, in ",
                                             chunks_written_,
                                             " chunks: go on from there when it is back, or at another one"));
}

}  // namespace densityd::rpc
