#include "server/rpc/row_call.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "server/base/freed_memory.h"
#include "server/rpc/answer_cork.h"
#include "server/rpc/row_worker.h"
#include "server/rpc/status.h"

namespace densityd::rpc {
namespace {

/// Messages below this are not worth to be freed before the call is.
constexpr size_t kSmallBytes = 64 << 10;
/// Requests of which it is worth to give back what parsing them has freed.
constexpr size_t kLargeBytes = 1 << 20;

}  // namespace

void RowCallBase::OnRequest() {
  const size_t message_bytes = memory.bytes();
  absl::Status status = TakeRequest();
  // The pieces that it came in have become blocks: near the ceiling they would lie beside what comes next.
  const serving::Scheduler& scheduler = *environment().scheduler;
  if (message_bytes >= kLargeBytes && scheduler.queued_bytes() > scheduler.max_queued_bytes() / 2) ReturnFreedMemory();
  if (status.ok()) status = Queue();
  if (!status.ok()) Answer(status);
}

absl::Status RowCallBase::Queue() {
  if (auto status = Admit(model_name()); !status.ok()) return status;
  // More than that is refused for what it is, whatever its caller owes.
  const uint64_t rows = std::min(asked_rows(), environment().limits.max_request_rows);
  if (auto status = TakeRows(rows); !status.ok()) return status;
  // Before anything is made ready for rows that would be refused: an answer may take 64 MiB.
  absl::Status submitted = asked_rows() == rows ? environment().scheduler->CheckRoom(rows) : absl::OkStatus();
  if (submitted.ok()) submitted = PrepareAndSubmit();
  if (!submitted.ok()) ReturnRows(rows);
  return submitted;
}

absl::Status RowCallBase::PrepareAndSubmit() {
  auto rows = Prepare();
  if (!rows.ok()) return rows.status();
  rows_ = *std::move(rows);
  plan = rows_.model->plan(rows_.op, rows_.precision);
  op = rows_.op;
  span = rows_.span;
  bytes = rows_.bytes;
  deadline = CallersDeadline();
  client = client_id();
  priority = rows_priority();
  // Before Submit: another worker may run the rows, and call Done, before Submit returns.
  queued_ = shared_from_this();
  absl::Status submitted = environment().scheduler->Submit(worker().index(), *this);
  if (!submitted.ok()) queued_.reset();
  return submitted;
}

void RowCallBase::Done(absl::Status status) {
  const std::shared_ptr<PostedCall> self = std::move(queued_);
  if (status.ok()) {
    thread_local std::vector<double> scratch;
    status = CompleteRows(rows_, worker().index(), scratch);
  }
  AnswerCork::BeforeAnswer(connection());
  Answer(status);
}

void RowCallBase::Answer(const absl::Status& status) {
  // The event of the answer may be handled, and the call be gone, before Finish returns on this thread.
  const std::shared_ptr<PostedCall> self = shared_from_this();
  Report(status, rows_.span.rows, Duration::kTellsSlowness);
  // The model's memory is given back with its last call, not with the last event of the last call.
  plan.reset();
  rows_.model.reset();
  if (!status.ok()) {
    Shrink(0);
    return FinishWith(ToGrpcStatus(status));
  }
  const grpc::ByteBuffer answer = AnswerBytes();
  Shrink(answer.Length());
  FinishWith(answer);
}

void RowCallBase::Shrink(size_t left) {
  if (memory.bytes() < left + kSmallBytes) return;
  DropMessages();
  rows_ = RowRequest();
  environment().scheduler->Hold(left, memory).IgnoreError();  // What becomes smaller fits.
}

}  // namespace densityd::rpc
