// StreamSample and StreamLogProb, taken up again where a connection or a server ends.
#include <algorithm>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/lib/chunks.h"
#include "client/lib/client_impl.h"
#include "client/lib/matrix_codec.h"
#include "client/lib/row_message.h"
#include "densityd/client.h"

namespace densityd {

namespace v1 = density::v1;
using client_internal::AppendMatrix;
using client_internal::AppendVector;
using client_internal::Backoff;
using client_internal::FromGrpc;

namespace {

/// Pieces are kept well below the largest message, so that answers flow.
constexpr size_t kPieceBytes = size_t{1} << 20;
/// Rows of a chunk of a sample, where they fit a message.
constexpr uint64_t kUsualChunkRows = 4096;
/// The server promises to take this many pieces before it waits for answers to be read.
constexpr size_t kUnanswered = 2;

absl::Status EndedEarly() {
  return absl::UnavailableError("the server ended the stream before all rows were answered");
}

absl::Time StreamDeadline(client_internal::RetryEnvironment& environment,
                          const std::optional<absl::Duration>& timeout) {
  return environment.Now() + timeout.value_or(absl::InfiniteDuration());
}

/// Leaves out the first `rows` rows of a context that has one for each row.
void DropRows(uint64_t rows, v1::Matrix* context) {
  if (context->rows() <= 1) return;
  const uint64_t bytes = rows * context->cols();
  if (!context->f32_le().empty()) context->mutable_f32_le()->erase(0, bytes * sizeof(float));
  if (!context->f64_le().empty()) context->mutable_f64_le()->erase(0, bytes * sizeof(double));
  context->set_rows(context->rows() - rows);
}

}  // namespace

template <RowNumber T>
struct SampleStream<T>::Impl {
  Impl(const Client::Impl& client_impl, absl::Time stream_deadline)
      : client(&client_impl), deadline(stream_deadline), backoff(client_impl.NewBackoff(stream_deadline)) {}

  ~Impl() {
    if (reader == nullptr) return;
    if (rows_left() > 0) context->TryCancel();
    Close().IgnoreError();
  }

  uint64_t rows_left() const { return request.sample().rows(); }

  /// Reads to the stream's end and returns what it ended with.
  absl::Status Close() {
    v1::SampleResponse ignored;
    while (reader->Read(&ignored)) {
    }
    absl::Status status = FromGrpc(reader->Finish());
    reader.reset();
    return status;
  }

  absl::StatusOr<bool> Next(SampleResult<T>& chunk) {
    while (outcome.ok() && rows_left() > 0) {
      if (reader == nullptr) {
        context = std::make_unique<grpc::ClientContext>();
        client->Prepare(*context, deadline);
        reader = client->estimator->StreamSample(context.get(), request);
      }
      if (reader->Read(&response)) {
        outcome = Take(chunk);
        if (!outcome.ok()) context->TryCancel();
        return outcome.ok() ? absl::StatusOr<bool>(true) : outcome;
      }
      absl::Status status = Close();
      if (status.ok()) status = EndedEarly();
      const std::optional<absl::Duration> wait = backoff.Next(status);
      if (!wait.has_value()) {
        outcome = client->Explain(backoff.Exhausted(status));
      } else {
        client->environment->Sleep(*wait);
      }
    }
    if (!outcome.ok()) return outcome;
    return false;
  }

  absl::Status Take(SampleResult<T>& chunk) {
    backoff.Reset();
    v1::SampleRequest& rest = *request.mutable_sample();
    const v1::Matrix& rows = response.rows();
    if (rows.rows() == 0 || rows.rows() > rest.rows()) {
      return absl::InternalError(absl::StrCat("the server's answer is malformed: a chunk of ", rows.rows(),
                                              " rows where ", rest.rows(), " are left"));
    }
    chunk.model = {response.model().name(), response.model().version()};
    chunk.seed = response.seed();
    chunk.rows.rows = rows.rows();
    chunk.rows.cols = rows.cols();
    chunk.rows.values.clear();
    chunk.log_prob.clear();
    absl::Status taken = AppendMatrix(rows, rows.rows(), rows.cols(), "rows", chunk.rows.values);
    if (rest.log_prob()) taken.Update(AppendVector(response.log_prob(), rows.rows(), "log_prob", chunk.log_prob));
    // What to ask for where this connection ends: the rest, of the same sample.
    rest.set_model(chunk.model.ToString());
    rest.set_seed(chunk.seed);
    rest.set_row_offset(rest.row_offset() + rows.rows());
    rest.set_rows(rest.rows() - rows.rows());
    if (rest.has_context()) DropRows(rows.rows(), rest.mutable_context());
    return taken;
  }

  const Client::Impl* client;
  absl::Time deadline;
  Backoff backoff;
  v1::StreamSampleRequest request;  ///< the rows that have not come yet
  v1::SampleResponse response;
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientReader<v1::SampleResponse>> reader;
  absl::Status outcome;
};

template <RowNumber T>
SampleStream<T>::SampleStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
template <RowNumber T>
SampleStream<T>::SampleStream(SampleStream&&) noexcept = default;
template <RowNumber T>
SampleStream<T>& SampleStream<T>::operator=(SampleStream&&) noexcept = default;
template <RowNumber T>
SampleStream<T>::~SampleStream() = default;
template <RowNumber T>
absl::StatusOr<bool> SampleStream<T>::Next(SampleResult<T>& chunk) {
  return impl_->Next(chunk);
}

template <RowNumber T>
absl::StatusOr<SampleStream<T>> Client::StreamSample(std::string_view model, uint64_t rows,
                                                     const SampleOptions<T>& options) const {
  if (rows == 0) return absl::InvalidArgumentError("rows: at least one is needed");
  if (absl::Status status = client_internal::CheckContext(options.context, rows); !status.ok()) return status;
  auto stream =
      std::make_unique<typename SampleStream<T>::Impl>(*impl_, StreamDeadline(*impl_->environment, options.timeout));
  uint64_t chunk_rows = options.chunk_rows;
  if (chunk_rows == 0) {
    const absl::StatusOr<size_t> fitting = client_internal::SampleChunkRows(
        *impl_, std::string(model), std::min(rows, kUsualChunkRows), options.context, impl_->Deadline(std::nullopt));
    if (!fitting.ok()) return fitting.status();
    chunk_rows = std::min<uint64_t>(*fitting, kUsualChunkRows);
  }
  stream->request.set_chunk_rows(chunk_rows);
  v1::SampleRequest& sample = *stream->request.mutable_sample();
  sample.set_model(std::string(model));
  sample.set_rows(rows);
  if (options.seed.has_value()) sample.set_seed(*options.seed);
  sample.set_row_offset(options.row_offset);
  if (!options.context.empty()) client_internal::Encode(options.context, sample.mutable_context());
  sample.set_log_prob(options.log_prob);
  sample.set_encoding(client_internal::EncodingOf<T>());
  sample.set_precision(client_internal::ToProto(options.precision));
  return SampleStream<T>(std::move(stream));
}

template <RowNumber T>
struct LogProbStream<T>::Impl {
  /// A piece that was sent and not answered.
  struct Piece {
    v1::LogProbRequest request;
    size_t rows;
  };

  Impl(const Client::Impl& client_impl, absl::Time stream_deadline)
      : client(&client_impl), deadline(stream_deadline), backoff(client_impl.NewBackoff(stream_deadline)) {}

  ~Impl() {
    if (stream == nullptr) return;
    context->TryCancel();
    Close().IgnoreError();
  }

  absl::Status Close() {
    v1::LogProbResponse ignored;
    while (stream->Read(&ignored)) {
    }
    absl::Status status = FromGrpc(stream->Finish());
    stream.reset();
    return status;
  }

  /// Opens a stream and sends what is not answered. Whether it worked out shows when the answers are read.
  void Open() {
    context = std::make_unique<grpc::ClientContext>();
    client->Prepare(*context, deadline);
    stream = client->estimator->StreamLogProb(context.get());
    first = true;
    for (Piece& piece : unanswered) {
      if (!Write(piece)) return;
    }
    if (input_ended) stream->WritesDone();
  }

  bool Write(Piece& piece) {
    if (std::exchange(first, false)) {
      piece.request.set_model(model.version == 0 ? model_reference : model.ToString());
    } else {
      piece.request.clear_model();
    }
    return stream->Write(piece.request);
  }

  absl::Status Send(RowsView<T> rows, RowsView<T> rows_context) {
    if (!outcome.ok()) return outcome;
    if (input_ended) return absl::FailedPreconditionError("the stream has ended; begin another one");
    const RowsView<T> used = rows_context.empty() ? shared_context : rows_context;
    if (absl::Status status = client_internal::CheckRows(rows, used); !status.ok()) return status;
    const absl::StatusOr<size_t> fitting = client_internal::ChunkRows(client->options, rows.cols(), used);
    if (!fitting.ok()) return fitting.status();
    const size_t piece_rows = std::min(*fitting, std::max<size_t>(kPieceBytes / (rows.cols() * sizeof(T)), 1));
    for (size_t begin = 0; begin < rows.rows() && outcome.ok(); begin += piece_rows) {
      const size_t count = std::min(piece_rows, rows.rows() - begin);
      while (unanswered.size() >= kUnanswered && outcome.ok()) outcome = Receive();
      if (!outcome.ok()) break;
      if (stream == nullptr) Open();
      Piece& piece = unanswered.emplace_back(Piece{options, count});
      client_internal::Encode(rows.Slice(begin, count), piece.request.mutable_rows());
      if (!used.empty()) client_internal::EncodeContext(used, begin, count, piece.request.mutable_context());
      // A write that fails means that the stream has ended: reading says why.
      Write(piece);
    }
    return outcome;
  }

  /// Reads the next answer, from another stream if need be.
  absl::Status Receive() {
    while (true) {
      if (stream == nullptr) Open();
      if (stream->Read(&response)) return Take();
      absl::Status status = Close();
      if (status.ok()) status = EndedEarly();
      const std::optional<absl::Duration> wait = backoff.Next(status);
      if (!wait.has_value()) return client->Explain(backoff.Exhausted(status));
      client->environment->Sleep(*wait);
    }
  }

  absl::Status Take() {
    backoff.Reset();
    const size_t rows = unanswered.front().rows;
    unanswered.pop_front();
    answer.model = {response.model().name(), response.model().version()};
    model = answer.model;
    answer.log_prob.clear();
    answer.tail_probability.clear();
    answer.standard_error.clear();
    absl::Status taken = AppendVector(response.log_prob(), rows, "log_prob", answer.log_prob);
    if (options.tail_probability()) {
      taken.Update(AppendVector(response.tail_probability(), rows, "tail_probability", answer.tail_probability));
    }
    if (options.standard_error()) {
      taken.Update(AppendVector(response.standard_error(), rows, "standard_error", answer.standard_error));
    }
    if (taken.ok()) taken = on_answer(answer);
    return taken;
  }

  absl::StatusOr<ModelVersion> Finish() {
    if (outcome.ok() && model.version == 0 && unanswered.empty()) {
      outcome = absl::InvalidArgumentError("rows: at least one is needed");
    }
    input_ended = true;
    if (outcome.ok() && stream != nullptr) stream->WritesDone();
    while (!unanswered.empty() && outcome.ok()) outcome = Receive();
    if (!outcome.ok()) return outcome;
    // All rows are answered: however the stream ends, nothing is missing.
    if (stream != nullptr) Close().IgnoreError();
    return model;
  }

  const Client::Impl* client;
  absl::Time deadline;
  Backoff backoff;
  std::string model_reference;
  v1::LogProbRequest options;     ///< what all pieces have in common
  std::vector<T> context_values;  ///< of shared_context
  RowsView<T> shared_context;
  OnLogProb<T> on_answer;
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::LogProbRequest, v1::LogProbResponse>> stream;
  bool first = true;  ///< the next piece is the first of `stream`
  bool input_ended = false;
  std::deque<Piece> unanswered;
  v1::LogProbResponse response;
  LogProbResult<T> answer;
  ModelVersion model;
  absl::Status outcome;
};

template <RowNumber T>
LogProbStream<T>::LogProbStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
template <RowNumber T>
LogProbStream<T>::LogProbStream(LogProbStream&&) noexcept = default;
template <RowNumber T>
LogProbStream<T>& LogProbStream<T>::operator=(LogProbStream&&) noexcept = default;
template <RowNumber T>
LogProbStream<T>::~LogProbStream() = default;
template <RowNumber T>
absl::Status LogProbStream<T>::Send(RowsView<T> rows, RowsView<T> context) {
  return impl_->Send(rows, context);
}
template <RowNumber T>
absl::StatusOr<ModelVersion> LogProbStream<T>::Finish() {
  return impl_->Finish();
}

template <RowNumber T>
absl::StatusOr<LogProbStream<T>> Client::StreamLogProb(std::string_view model, OnLogProb<T> on_answer,
                                                       const LogProbOptions<T>& options) const {
  if (absl::Status status = client_internal::CheckContext(options.context, 1); !status.ok()) return status;
  auto stream =
      std::make_unique<typename LogProbStream<T>::Impl>(*impl_, StreamDeadline(*impl_->environment, options.timeout));
  stream->model_reference = std::string(model);
  stream->options.set_tail_probability(options.tail_probability);
  stream->options.set_accept_non_finite(options.accept_non_finite);
  stream->options.set_standard_error(options.standard_error);
  stream->options.set_refuse_outside_support(options.refuse_outside_support);
  stream->options.set_precision(client_internal::ToProto(options.precision));
  if (!options.context.empty()) {
    stream->context_values.assign(options.context.values().begin(), options.context.values().end());
    stream->shared_context = {stream->context_values, options.context.cols()};
  }
  stream->on_answer = std::move(on_answer);
  return LogProbStream<T>(std::move(stream));
}

template class SampleStream<float>;
template class SampleStream<double>;
template class LogProbStream<float>;
template class LogProbStream<double>;
template absl::StatusOr<SampleStream<float>> Client::StreamSample(std::string_view, uint64_t,
                                                                  const SampleOptions<float>&) const;
template absl::StatusOr<SampleStream<double>> Client::StreamSample(std::string_view, uint64_t,
                                                                   const SampleOptions<double>&) const;
template absl::StatusOr<LogProbStream<float>> Client::StreamLogProb(std::string_view, OnLogProb<float>,
                                                                    const LogProbOptions<float>&) const;
template absl::StatusOr<LogProbStream<double>> Client::StreamLogProb(std::string_view, OnLogProb<double>,
                                                                     const LogProbOptions<double>&) const;

}  // namespace densityd
