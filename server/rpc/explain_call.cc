#include "server/rpc/explain_call.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "server/engine/rows.h"
#include "server/rpc/matrix.h"
#include "server/rpc/row_worker.h"
#include "server/rpc/status.h"

namespace densityd::rpc {

void ExplainCall::OnRequest() {
  absl::Status status = Take(request_);
  if (status.ok()) status = Prepare();
  // First, so that a plan that is not there yet is waited for before anything else is computed.
  if (status.ok()) status = explain_.log_prob_by_column.empty() ? QueuePoints() : QueueChain();
  if (!status.ok()) Answer(status);
}

absl::Status ExplainCall::Prepare() {
  const RowEnvironment& shared = environment();
  if (auto status = Admit(model_name()); !status.ok()) return status;
  // Asks whether anything is owed; what is computed is counted when it is known, round by round.
  if (auto status = TakeRows(0); !status.ok()) return status;
  auto prepared = PrepareExplain(request_, *shared.models, shared.limits, response_);
  if (!prepared.ok()) return prepared.status();
  explain_ = *std::move(prepared);
  deadline = CallersDeadline();
  client = client_id();
  priority = rows_priority();
  const ConstMatrix& context = explain_.rows.span.context;
  context_.resize(context.rows * context.cols);
  engine::ReadRows(context, context_.data());
  return absl::OkStatus();
}

absl::Status ExplainCall::QueueChain() {
  span = explain_.rows.span;
  std::vector<double>& numbers = explain_.log_prob_by_column;
  span.output = {numbers.data(), NumberType::kFloat64, span.rows, numbers.size() / span.rows};
  return Queue(engine::Op::kLogProbByColumn, numbers.size());
}

absl::Status ExplainCall::QueuePoints() {
  const explain::Explainer& explainer = *explain_.explainer;
  const size_t points = explainer.origin().size();
  const engine::PlanInfo& info = explain_.rows.model->plan(explain_.rows.precision)->info();
  const size_t features = info.features;
  const size_t context_cols = info.context_features;
  log_prob_.resize(points);
  span = engine::RowSpan();
  span.rows = points;
  span.input = {explainer.points().data(), NumberType::kFloat64, points, features};
  span.log = {log_prob_.data(), NumberType::kFloat64, points, 1};
  const bool with_error = explainer.asks_rows() && info.is_estimate;
  if (with_error) {
    errors_.resize(points);
    span.output = {errors_.data(), NumberType::kFloat64, points, 1};
  }
  if (context_cols > 0 && context_.size() == context_cols) {
    span.context = {context_.data(), NumberType::kFloat64, 1, context_cols};
  } else if (context_cols > 0) {
    contexts_.clear();
    for (uint32_t row : explainer.origin()) {
      const auto begin = context_.begin() + static_cast<std::ptrdiff_t>(row * context_cols);
      contexts_.insert(contexts_.end(), begin, begin + static_cast<std::ptrdiff_t>(context_cols));
    }
    span.context = {contexts_.data(), NumberType::kFloat64, points, context_cols};
  }
  return Queue(with_error ? engine::Op::kLogProbWithError : engine::Op::kLogProb,
               (explain_.rows.span.rows + points) * (features + context_cols + 1));
}

absl::Status ExplainCall::Queue(engine::Op wanted, size_t held) {
  op = wanted;
  plan = explain_.rows.model->plan(op, explain_.rows.precision);
  bytes = request_.ByteSizeLong() + held * sizeof(double);
  // Before Submit: another worker may run the rows, and call Done, before Submit returns.
  queued_ = shared_from_this();
  const size_t rows = span.rows;
  ChargeRows(rows);
  absl::Status submitted = environment().scheduler->Submit(worker().index(), *this);
  if (!submitted.ok()) {
    queued_.reset();
    ReturnRows(rows);
  }
  return submitted;
}

void ExplainCall::Done(absl::Status status) {
  const std::shared_ptr<PostedCall> self = std::move(queued_);
  computed_ = std::move(status);
  memory.Release();
  alarm_.Set(&worker().queue(), std::chrono::system_clock::now(), Arm(Event::kAlarm));
}

void ExplainCall::OnOtherEvent(Event event) {
  if (event != Event::kAlarm) return;
  absl::Status status = computed_;
  if (status.ok()) {
    // Once more points are queued, or the answer is sent, this is another worker's, or gone.
    status = Continue();
  } else if (op != engine::Op::kLogProbByColumn) {
    status = OfRequest(status, *explain_.explainer);
  }
  if (!status.ok()) Answer(status);
}

absl::Status ExplainCall::Continue() {
  explain_.rows.model->series().OnRows(op, span.rows);
  if (op == engine::Op::kLogProbByColumn) return QueuePoints();
  if (op == engine::Op::kLogProbWithError) explain_.explainer->SetErrors(std::move(errors_));
  explain_.explainer->Take(log_prob_);
  if (!explain_.explainer->is_done()) return QueuePoints();
  FillExplanation(explain_, EncodingOf(request_.rows()), response_);
  Answer(absl::OkStatus());
  return absl::OkStatus();
}

void ExplainCall::Answer(const absl::Status& status) {
  // The event of the answer may be handled, and the call be gone, before Finish returns on this thread.
  const std::shared_ptr<PostedCall> self = shared_from_this();
  Report(status, explain_.rows.span.rows, Duration::kTellsNothing);
  plan.reset();
  explain_.rows.model.reset();
  if (!status.ok()) return FinishWith(ToGrpcStatus(status));
  FinishWith(BytesOf(response_));
}

}  // namespace densityd::rpc
