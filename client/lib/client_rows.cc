// LogProb, Inverse, Forward, Score, Explain and Sample.
#include <algorithm>
#include <cstdint>
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
using client_internal::CheckContext;
using client_internal::CheckRows;
using client_internal::ChunkRows;
using client_internal::Encode;
using client_internal::EncodeContext;
using client_internal::EncodingOf;
using client_internal::ForEachChunk;
using client_internal::SampleChunkRows;
using client_internal::ToProto;

namespace {

/// Keeps the version of the first answer, so that all chunks come from one version.
void Pin(const v1::ModelVersion& answered, ModelVersion& model, std::string& request_model) {
  if (model.version != 0) return;
  model = {answered.name(), answered.version()};
  request_model = model.ToString();
}

/// Sends rows with a context through `method`, chunk by chunk. `options` are those of the method;
/// `fill(request)` sets what is special to the method, `take(response, count)` keeps the answer of `count` rows, at
/// most `max_chunk_rows`. Returns the version that answered.
template <typename T, typename Impl, typename Request, typename Response, typename Options, typename Fill,
          typename Take>
absl::StatusOr<ModelVersion> CallInChunks(const Impl& impl,
                                          grpc::Status (v1::DensityEstimator::Stub::*method)(grpc::ClientContext*,
                                                                                             const Request&, Response*),
                                          std::string_view model, RowsView<T> rows, const Options& options, Fill fill,
                                          Take take, size_t max_chunk_rows = SIZE_MAX) {
  if (absl::Status status = CheckRows(rows, options.context); !status.ok()) return status;
  const absl::StatusOr<size_t> chunk_rows = ChunkRows(impl.options, rows.cols(), options.context);
  if (!chunk_rows.ok()) return chunk_rows.status();
  const absl::Time deadline = impl.Deadline(options.timeout);
  ModelVersion answered;
  std::string pinned(model);
  absl::Status status =
      ForEachChunk(rows.rows(), std::min(*chunk_rows, max_chunk_rows), [&](size_t begin, size_t count) {
        Request request;
        request.set_model(pinned);
        Encode(rows.Slice(begin, count), request.mutable_rows());
        if (!options.context.empty()) EncodeContext(options.context, begin, count, request.mutable_context());
        request.set_precision(ToProto(options.precision));
        fill(request);
        Response response;
        absl::Status called = impl.CallRows(method, request, deadline, &response);
        if (!called.ok()) return called;
        Pin(response.model(), answered, pinned);
        return absl::Status(take(response, count));
      });
  if (!status.ok()) return status;
  return answered;
}

/// Inverse and Forward: `method` is either one's.
template <typename T, typename Impl, typename Request, typename Response>
absl::StatusOr<MapResult<T>> Map(const Impl& impl,
                                 grpc::Status (v1::DensityEstimator::Stub::*method)(grpc::ClientContext*,
                                                                                    const Request&, Response*),
                                 std::string_view model, RowsView<T> rows, const MapOptions<T>& options) {
  MapResult<T> result;
  result.rows.rows = rows.rows();
  result.rows.cols = rows.cols();
  result.rows.values.reserve(rows.values().size());
  result.log_abs_det.reserve(rows.rows());
  absl::StatusOr<ModelVersion> answered = CallInChunks(
      impl, method, model, rows, options, [](Request&) {},
      [&](const Response& response, size_t count) {
        absl::Status taken = AppendMatrix(response.rows(), count, rows.cols(), "rows", result.rows.values);
        taken.Update(AppendVector(response.log_abs_det(), count, "log_abs_det", result.log_abs_det));
        return taken;
      });
  if (!answered.ok()) return answered.status();
  result.model = *std::move(answered);
  return result;
}

template <typename T, typename Impl>
absl::StatusOr<LogProbResult<T>> LogProbOf(const Impl& impl, std::string_view model, RowsView<T> rows,
                                           const LogProbOptions<T>& options) {
  LogProbResult<T> result;
  result.log_prob.reserve(rows.rows());
  absl::StatusOr<ModelVersion> answered = CallInChunks(
      impl, &v1::DensityEstimator::Stub::LogProb, model, rows, options,
      [&](v1::LogProbRequest& request) {
        request.set_tail_probability(options.tail_probability);
        request.set_accept_non_finite(options.accept_non_finite);
        request.set_standard_error(options.standard_error);
        request.set_refuse_outside_support(options.refuse_outside_support);
      },
      [&](const v1::LogProbResponse& response, size_t count) {
        absl::Status taken = AppendVector(response.log_prob(), count, "log_prob", result.log_prob);
        if (options.tail_probability) {
          taken.Update(AppendVector(response.tail_probability(), count, "tail_probability", result.tail_probability));
        }
        if (options.standard_error) {
          taken.Update(AppendVector(response.standard_error(), count, "standard_error", result.standard_error));
        }
        return taken;
      });
  if (!answered.ok()) return answered.status();
  result.model = *std::move(answered);
  return result;
}

template <typename T, typename Impl>
absl::StatusOr<ScoreResult<T>> ScoreOf(const Impl& impl, std::string_view model, RowsView<T> rows,
                                       const MapOptions<T>& options) {
  ScoreResult<T> result;
  result.score.rows = rows.rows();
  result.score.cols = rows.cols();
  result.score.values.reserve(rows.values().size());
  result.log_prob.reserve(rows.rows());
  absl::StatusOr<ModelVersion> answered = CallInChunks(
      impl, &v1::DensityEstimator::Stub::Score, model, rows, options, [](v1::ScoreRequest&) {},
      [&](const v1::ScoreResponse& response, size_t count) {
        absl::Status taken = AppendMatrix(response.score(), count, rows.cols(), "score", result.score.values);
        taken.Update(AppendVector(response.log_prob(), count, "log_prob", result.log_prob));
        return taken;
      });
  if (!answered.ok()) return answered.status();
  result.model = *std::move(answered);
  return result;
}

/// Rows times columns that the server explains in one request (density_estimator.proto, ExplainRequest.columns).
constexpr size_t kMaxExplainedNumbers = 4096;

/// The terms of the chain rule of `count` rows of D = `features`, or why there are none.
template <typename T>
absl::Status TakeChain(const v1::ExplainResponse& response, size_t count, size_t features, Explanation<T>& result) {
  result.no_chain_rule_because = response.no_chain_rule_because();
  if (!result.no_chain_rule_because.empty()) return absl::OkStatus();
  result.chain_order.assign(response.chain_order().begin(), response.chain_order().end());
  result.chain_rule.rows += count;
  result.chain_rule.cols = features;
  return AppendMatrix(response.chain_rule(), count, features, "chain_rule", result.chain_rule.values);
}

template <typename T, typename Impl>
absl::StatusOr<Explanation<T>> ExplanationOf(const Impl& impl, std::string_view model, RowsView<T> rows,
                                             const ExplainOptions<T>& options) {
  const size_t columns = options.columns.empty() ? rows.cols() : options.columns.size();
  Explanation<T> result;
  for (Rows<T>* part :
       {&result.surprise, &result.tail_probability, &result.median, &result.lower, &result.upper, &result.error}) {
    part->rows = rows.rows();
    part->cols = columns;
  }
  absl::StatusOr<ModelVersion> answered = CallInChunks(
      impl, &v1::DensityEstimator::Stub::Explain, model, rows, options,
      [&](v1::ExplainRequest& request) {
        request.mutable_columns()->Add(options.columns.begin(), options.columns.end());
        request.set_chain_rule(options.chain_rule);
      },
      [&](const v1::ExplainResponse& response, size_t count) {
        absl::Status taken = AppendVector(response.log_prob(), count, "log_prob", result.log_prob);
        const auto take = [&](const v1::Matrix& matrix, const char* name, Rows<T>& part) {
          taken.Update(AppendMatrix(matrix, count, columns, name, part.values));
        };
        take(response.surprise(), "surprise", result.surprise);
        take(response.tail_probability(), "tail_probability", result.tail_probability);
        take(response.median(), "median", result.median);
        take(response.lower(), "lower", result.lower);
        take(response.upper(), "upper", result.upper);
        take(response.error(), "error", result.error);
        if (options.chain_rule) taken.Update(TakeChain(response, count, rows.cols(), result));
        return taken;
      },
      std::max<size_t>(1, kMaxExplainedNumbers / std::max<size_t>(1, columns)));
  if (!answered.ok()) return answered.status();
  result.model = *std::move(answered);
  return result;
}

}  // namespace

absl::StatusOr<LogProbResult<float>> Client::LogProb(std::string_view model, RowsView<float> rows,
                                                     const LogProbOptions<float>& options) const {
  return LogProbOf(*impl_, model, rows, options);
}

absl::StatusOr<LogProbResult<double>> Client::LogProb(std::string_view model, RowsView<double> rows,
                                                      const LogProbOptions<double>& options) const {
  return LogProbOf(*impl_, model, rows, options);
}

absl::StatusOr<MapResult<float>> Client::Inverse(std::string_view model, RowsView<float> rows,
                                                 const MapOptions<float>& options) const {
  return Map(*impl_, &v1::DensityEstimator::Stub::Inverse, model, rows, options);
}

absl::StatusOr<MapResult<double>> Client::Inverse(std::string_view model, RowsView<double> rows,
                                                  const MapOptions<double>& options) const {
  return Map(*impl_, &v1::DensityEstimator::Stub::Inverse, model, rows, options);
}

absl::StatusOr<MapResult<float>> Client::Forward(std::string_view model, RowsView<float> rows,
                                                 const MapOptions<float>& options) const {
  return Map(*impl_, &v1::DensityEstimator::Stub::Forward, model, rows, options);
}

absl::StatusOr<MapResult<double>> Client::Forward(std::string_view model, RowsView<double> rows,
                                                  const MapOptions<double>& options) const {
  return Map(*impl_, &v1::DensityEstimator::Stub::Forward, model, rows, options);
}

absl::StatusOr<ScoreResult<float>> Client::Score(std::string_view model, RowsView<float> rows,
                                                 const MapOptions<float>& options) const {
  return ScoreOf(*impl_, model, rows, options);
}

absl::StatusOr<ScoreResult<double>> Client::Score(std::string_view model, RowsView<double> rows,
                                                  const MapOptions<double>& options) const {
  return ScoreOf(*impl_, model, rows, options);
}

absl::StatusOr<Explanation<float>> Client::Explain(std::string_view model, RowsView<float> rows,
                                                   const ExplainOptions<float>& options) const {
  return ExplanationOf(*impl_, model, rows, options);
}

absl::StatusOr<Explanation<double>> Client::Explain(std::string_view model, RowsView<double> rows,
                                                    const ExplainOptions<double>& options) const {
  return ExplanationOf(*impl_, model, rows, options);
}

template <RowNumber T>
absl::StatusOr<SampleResult<T>> Client::Sample(std::string_view model, uint64_t rows,
                                               const SampleOptions<T>& options) const {
  if (rows == 0) return absl::InvalidArgumentError("rows: at least one is needed");
  if (absl::Status status = CheckContext(options.context, rows); !status.ok()) return status;
  const absl::Time deadline = impl_->Deadline(options.timeout);
  std::string pinned(model);
  const absl::StatusOr<size_t> chunk_rows = SampleChunkRows(*impl_, pinned, rows, options.context, deadline);
  if (!chunk_rows.ok()) return chunk_rows.status();

  SampleResult<T> result;
  std::optional<uint64_t> seed = options.seed;
  absl::Status status = ForEachChunk(rows, *chunk_rows, [&](size_t begin, size_t count) {
    v1::SampleRequest request;
    request.set_model(pinned);
    request.set_rows(count);
    if (seed.has_value()) request.set_seed(*seed);
    request.set_row_offset(options.row_offset + begin);
    if (!options.context.empty()) EncodeContext(options.context, begin, count, request.mutable_context());
    request.set_log_prob(options.log_prob);
    request.set_encoding(EncodingOf<T>());
    request.set_precision(ToProto(options.precision));
    v1::SampleResponse response;
    absl::Status called = impl_->CallRows(&v1::DensityEstimator::Stub::Sample, request, deadline, &response);
    if (!called.ok()) return called;
    Pin(response.model(), result.model, pinned);
    seed = response.seed();
    if (begin == 0) result.rows.cols = response.rows().cols();
    called = AppendMatrix(response.rows(), count, result.rows.cols, "rows", result.rows.values);
    if (options.log_prob) called.Update(AppendVector(response.log_prob(), count, "log_prob", result.log_prob));
    return called;
  });
  if (!status.ok()) return status;
  result.rows.rows = rows;
  result.seed = *seed;
  return result;
}

template absl::StatusOr<SampleResult<float>> Client::Sample(std::string_view, uint64_t,
                                                            const SampleOptions<float>&) const;
template absl::StatusOr<SampleResult<double>> Client::Sample(std::string_view, uint64_t,
                                                             const SampleOptions<double>&) const;

}  // namespace densityd
