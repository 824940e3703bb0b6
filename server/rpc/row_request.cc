#include "server/rpc/row_request.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"
#include "server/rpc/context_check.h"
#include "server/rpc/matrix.h"

namespace densityd::rpc {
namespace {

using density::v1::Encoding;
using density::v1::Matrix;

/// Room that is left for everything in an answer but its numbers.
constexpr uint64_t kAnswerOverhead = 1024;

template <typename Response>
void SayVersion(const std::string& name, uint64_t version, Response& response) {
  response.mutable_model()->set_name(name);
  response.mutable_model()->set_version(version);
}

/// Pins the model version.
template <typename Request>
absl::StatusOr<RowRequest> PinModel(const Request& request, registry::ModelHandle handle) {
  RowRequest rows;
  auto precision = ResolvePrecision("precision", request.precision());
  if (!precision.ok()) return precision.status();
  rows.precision = *precision;
  // Every servable of this server comes from MakeLoader.
  rows.model = std::static_pointer_cast<const ServedModel>(std::move(handle.servable));
  return rows;
}

/// The same, and writes into the answer which one it is.
template <typename Request, typename Response>
absl::StatusOr<RowRequest> PinModel(const Request& request, registry::ModelHandle handle, Response& response) {
  SayVersion(handle.name, handle.version, response);
  return PinModel(request, std::move(handle));
}

absl::Status NoRows(std::string_view field) { return InvalidArgument(field, "is 0; at least one row is needed"); }

absl::Status CheckRowCount(std::string_view field, uint64_t rows, const RowLimits& limits) {
  if (rows == 0) return NoRows(field);
  if (rows <= limits.max_request_rows) return absl::OkStatus();
  return InvalidArgument(field, absl::StrCat("is ", rows, "; the server's --max-request-rows allows ",
                                             limits.max_request_rows, ". Ask in several requests"));
}

/// Checks that `rows` rows of `numbers` numbers each fit into an answer.
absl::Status CheckAnswerBytes(std::string_view field, uint64_t rows, uint64_t numbers, Encoding encoding,
                              const RowLimits& limits) {
  uint64_t bytes = 0;
  if (!__builtin_mul_overflow(rows, numbers * EncodedBytes(encoding), &bytes) &&
      bytes + kAnswerOverhead <= limits.max_message_bytes) {
    return absl::OkStatus();
  }
  return InvalidArgument(field, absl::StrCat(rows, " rows make an answer of ", rows, " x ", numbers, " numbers of ",
                                             EncodedBytes(encoding), " bytes, over the server's --max-message-bytes (",
                                             limits.max_message_bytes, "). Ask for fewer rows at a time"));
}

absl::Status AddContext(bool has_context, const Matrix& context, RowRequest& rows) {
  const size_t wanted = rows.model->plan(rows.precision)->info().context_features;
  if (!has_context || IsAbsent(context)) {
    if (wanted == 0) return absl::OkStatus();
    return InvalidArgument("context", absl::StrCat("is required: the model is conditioned on ", wanted, " columns"));
  }
  if (wanted == 0) return InvalidArgument("context", "was given, but the model has no context");
  auto view = ViewRows("context", context);
  if (!view.ok()) return view.status();
  if (view->cols != wanted) {
    return InvalidArgument("context.cols",
                           absl::StrCat("is ", view->cols, "; the model has ", wanted, " context columns"));
  }
  if (view->rows != rows.span.rows && view->rows != 1) {
    return InvalidArgument("context.rows", absl::StrCat("is ", view->rows, "; ", rows.span.rows,
                                                        " (one per row) or 1 (the same for all) is needed"));
  }
  rows.span.context = *view;
  const std::vector<flow::ContextColumn>& columns = rows.model->context_columns();
  return columns.empty() ? CheckFinite("context", *view, rows.precision) : CheckEncodable("context", *view, columns);
}

/// Puts finite rows in the place of those that are not, if there are any.
void SetAsideNonFinite(RowRequest& rows) {
  ConstMatrix& input = rows.span.input;
  rows.non_finite = NonFiniteRows(input, rows.precision);
  if (rows.non_finite.empty()) return;
  const size_t row_bytes = input.cols * NumberBytes(input.type);
  const auto* data = static_cast<const std::byte*>(input.data);
  rows.finite.assign(data, data + input.rows * row_bytes);
  // Any row that may be run: the first one that is finite, which the model knows how to take; zeros where there is
  // none.
  size_t usable = 0;
  while (usable < rows.non_finite.size() && rows.non_finite[usable] == usable) ++usable;
  std::vector<std::byte> stand_in(row_bytes);
  if (usable < input.rows) stand_in.assign(data + usable * row_bytes, data + (usable + 1) * row_bytes);
  for (const size_t row : rows.non_finite) {
    std::copy(stand_in.begin(), stand_in.end(), rows.finite.begin() + static_cast<ptrdiff_t>(row * row_bytes));
  }
  input.data = rows.finite.data();
}

/// Checks the request's rows and context, and returns how the rows are encoded. An answer holds `columns` numbers per
/// row, and D more where `answers_rows`.
template <typename Request>
absl::StatusOr<Encoding> AddInput(const Request& request, const RowLimits& limits, bool answers_rows, uint64_t columns,
                                  RowRequest& rows) {
  auto view = ViewRows("rows", request.rows());
  if (!view.ok()) return view.status();
  const size_t features = rows.model->plan(rows.precision)->info().features;
  if (view->cols != features) {
    return InvalidArgument("rows.cols", absl::StrCat("is ", view->cols, "; the model has ", features, " columns"));
  }
  if (auto status = CheckRowCount("rows.rows", view->rows, limits); !status.ok()) return status;
  const Encoding encoding = EncodingOf(request.rows());
  const uint64_t per_row = columns + (answers_rows ? features : 0);
  auto status = CheckAnswerBytes("rows.rows", view->rows, per_row, encoding, limits);
  if (!status.ok()) return status;
  rows.span.rows = view->rows;
  rows.span.input = *view;
  bool accepts_non_finite = false;
  if constexpr (requires { request.accept_non_finite(); }) accepts_non_finite = request.accept_non_finite();
  status = CheckFinite("rows", *view, rows.precision);
  if (!status.ok()) {
    if (!accepts_non_finite) return status;
    SetAsideNonFinite(rows);
  }
  status = AddContext(request.has_context(), request.context(), rows);
  if (!status.ok()) return status;
  return encoding;
}

/// Checks what a sample is drawn from, and returns how its answer is encoded.
absl::StatusOr<Encoding> AddSample(const density::v1::SampleRequest& request, RowRequest& rows) {
  rows.op = engine::Op::kSample;
  auto encoding = ResolveEncoding("encoding", request.encoding(), density::v1::ENCODING_VALUES);
  if (!encoding.ok()) return encoding.status();
  if (request.rows() == 0) return NoRows("rows");
  if (request.row_offset() > std::numeric_limits<uint64_t>::max() - request.rows()) {
    return InvalidArgument("row_offset", absl::StrCat(request.row_offset(), " + ", request.rows(),
                                                      " rows goes beyond the last row, 2^64 - 1"));
  }
  rows.span.rows = request.rows();
  auto status = AddContext(request.has_context(), request.context(), rows);
  if (!status.ok()) return status;
  thread_local absl::BitGen seeds;
  rows.span.seed = request.has_seed() ? request.seed() : absl::Uniform<uint64_t>(seeds);
  rows.span.first_row = request.row_offset();
  return encoding;
}

/// Numbers that a sample's answer holds per row.
uint64_t SampleNumbers(const density::v1::SampleRequest& request, const RowRequest& rows) {
  return rows.model->plan(rows.precision)->info().features + (request.log_prob() ? 1 : 0);
}

void MakeRoomForSample(Encoding encoding, bool log_prob, RowRequest& rows, density::v1::SampleResponse& response) {
  const size_t features = rows.model->plan(rows.precision)->info().features;
  response.set_seed(rows.span.seed);
  rows.span.output = Allocate(encoding, rows.span.rows, features, *response.mutable_rows());
  if (log_prob) rows.span.log = Allocate(encoding, rows.span.rows, *response.mutable_log_prob());
  rows.bytes = response.ByteSizeLong();
}

/// Inverse and Forward: rows in, rows and log|det| out.
template <typename Request, typename Response>
absl::StatusOr<RowRequest> PrepareMap(engine::Op op, const Request& request, const registry::ModelManager& models,
                                      const RowLimits& limits, Response& response) {
  auto handle = models.Acquire(request.model());
  if (!handle.ok()) return handle.status();
  auto rows = PinModel(request, *std::move(handle), response);
  if (!rows.ok()) return rows.status();
  rows->op = op;
  auto encoding = AddInput(request, limits, /*answers_rows=*/true, /*columns=*/1, *rows);
  if (!encoding.ok()) return encoding.status();
  rows->span.output = Allocate(*encoding, rows->span.rows, rows->span.input.cols, *response.mutable_rows());
  rows->span.log = Allocate(*encoding, rows->span.rows, *response.mutable_log_abs_det());
  rows->bytes = request.ByteSizeLong() + response.ByteSizeLong();
  return rows;
}

/// `log_prob`: as computed, (N). A finite row stands where the caller's was not finite: that one is not looked at.
absl::Status CheckSupport(const RowRequest& request, const std::vector<double>& log_prob) {
  if (!request.refuse_outside_support) return absl::OkStatus();
  for (size_t row = 0; row < log_prob.size(); ++row) {
    if (log_prob[row] != -std::numeric_limits<double>::infinity()) continue;
    if (std::binary_search(request.non_finite.begin(), request.non_finite.end(), row)) continue;
    return InvalidRow("rows", row,
                      "is outside the model's support: its density is zero. Correct it, or ask without "
                      "refuse_outside_support for -infinity");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RowRequest> PrepareRows(const density::v1::LogProbRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::LogProbResponse& response) {
  auto handle = models.Acquire(request.model());
  if (!handle.ok()) return handle.status();
  return PrepareRows(request, *std::move(handle), limits, response);
}

absl::StatusOr<RowRequest> PrepareRows(const density::v1::LogProbRequest& request, registry::ModelHandle model,
                                       const RowLimits& limits, density::v1::LogProbResponse& response) {
  auto rows = PinModel(request, std::move(model), response);
  if (!rows.ok()) return rows.status();
  rows->op = engine::Op::kLogProb;
  rows->refuse_outside_support = request.refuse_outside_support();
  if (request.tail_probability() && !rows->model->tail_probability().available()) {
    return FailedPrecondition("model", request.model(),
                              "tail_probability was asked for, but the model was stored without calibration");
  }
  const uint64_t columns = 1 + (request.tail_probability() ? 1 : 0) + (request.standard_error() ? 1 : 0);
  auto encoding = AddInput(request, limits, /*answers_rows=*/false, columns, *rows);
  if (!encoding.ok()) return encoding.status();
  rows->span.log = Allocate(*encoding, rows->span.rows, *response.mutable_log_prob());
  if (request.standard_error()) {
    rows->span.output = Allocate(*encoding, rows->span.rows, *response.mutable_standard_error());
    if (rows->model->plan(rows->precision)->info().is_estimate) {
      rows->op = engine::Op::kLogProbWithError;
    } else {
      std::vector<double> exact(rows->span.rows);
      for (const size_t row : rows->non_finite) exact[row] = std::numeric_limits<double>::quiet_NaN();
      WriteColumn(exact, rows->span.output);
      rows->span.output = {};
    }
  }
  if (request.tail_probability()) {
    rows->tail_probability = Allocate(*encoding, rows->span.rows, *response.mutable_tail_probability());
  }
  rows->bytes = request.ByteSizeLong() + response.ByteSizeLong() + rows->finite.size();
  return rows;
}

absl::StatusOr<RowRequest> PrepareRows(const density::v1::ExplainRequest& request, size_t columns,
                                       registry::ModelHandle model, const RowLimits& limits,
                                       density::v1::ExplainResponse& response) {
  constexpr uint64_t kAnswersPerColumn = 6;
  const auto& served = static_cast<const ServedModel&>(*model.servable);
  const uint64_t chain = request.chain_rule() ? served.plan(NumberType::kFloat32)->info().features : 0;
  auto rows = PinModel(request, std::move(model), response);
  if (!rows.ok()) return rows.status();
  rows->op = engine::Op::kLogProb;
  auto encoding = AddInput(request, limits, /*answers_rows=*/false, 1 + kAnswersPerColumn * columns + chain, *rows);
  if (!encoding.ok()) return encoding.status();
  return rows;
}

absl::StatusOr<RowRequest> PrepareRows(const density::v1::SampleRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::SampleResponse& response) {
  auto handle = models.Acquire(request.model());
  if (!handle.ok()) return handle.status();
  auto rows = PinModel(request, *std::move(handle), response);
  if (!rows.ok()) return rows.status();
  auto encoding = AddSample(request, *rows);
  if (!encoding.ok()) return encoding.status();
  if (auto status = CheckRowCount("rows", request.rows(), limits); !status.ok()) return status;
  auto status = CheckAnswerBytes("rows", request.rows(), SampleNumbers(request, *rows), *encoding, limits);
  if (!status.ok()) return status;
  MakeRoomForSample(*encoding, request.log_prob(), *rows, response);
  rows->bytes += request.ByteSizeLong();
  return rows;
}

absl::StatusOr<SampleChunks> SampleChunks::Create(const density::v1::StreamSampleRequest& request,
                                                  const registry::ModelManager& models, const RowLimits& limits) {
  constexpr uint64_t kUsualChunkRows = 4096;
  const density::v1::SampleRequest& sample = request.sample();
  auto handle = models.Acquire(sample.model());
  if (!handle.ok()) return handle.status();
  SampleChunks chunks;
  chunks.name_ = handle->name;
  chunks.version_ = handle->version;
  auto rows = PinModel(sample, *std::move(handle));
  if (!rows.ok()) return rows.status();
  auto encoding = AddSample(sample, *rows);
  if (!encoding.ok()) return encoding.status();
  const uint64_t numbers = SampleNumbers(sample, *rows);
  chunks.chunk_rows_ = request.chunk_rows();
  if (chunks.chunk_rows_ == 0) {
    const uint64_t fitting = (limits.max_message_bytes - kAnswerOverhead) / (numbers * EncodedBytes(*encoding));
    chunks.chunk_rows_ = std::max<uint64_t>(1, std::min({kUsualChunkRows, fitting, limits.max_request_rows}));
  }
  chunks.chunk_rows_ = std::min(chunks.chunk_rows_, sample.rows());
  if (auto status = CheckRowCount("chunk_rows", chunks.chunk_rows_, limits); !status.ok()) return status;
  auto status = CheckAnswerBytes("chunk_rows", chunks.chunk_rows_, numbers, *encoding, limits);
  if (!status.ok()) return status;
  chunks.sample_ = *std::move(rows);
  chunks.encoding_ = *encoding;
  chunks.log_prob_ = sample.log_prob();
  chunks.rows_ = sample.rows();
  return chunks;
}

RowRequest SampleChunks::Next(density::v1::SampleResponse& response) {
  const uint64_t count = std::min(chunk_rows_, remaining());
  RowRequest chunk = sample_;
  chunk.span = engine::Slice(sample_.span, next_row_, count);
  SayVersion(name_, version_, response);
  MakeRoomForSample(encoding_, log_prob_, chunk, response);
  next_row_ += count;
  return chunk;
}

absl::StatusOr<RowRequest> PrepareRows(const density::v1::InverseRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::InverseResponse& response) {
  return PrepareMap(engine::Op::kInverse, request, models, limits, response);
}

absl::StatusOr<RowRequest> PrepareRows(const density::v1::ForwardRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::ForwardResponse& response) {
  return PrepareMap(engine::Op::kForward, request, models, limits, response);
}

absl::StatusOr<RowRequest> PrepareRows(const density::v1::ScoreRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::ScoreResponse& response) {
  auto handle = models.Acquire(request.model());
  if (!handle.ok()) return handle.status();
  auto rows = PinModel(request, *std::move(handle), response);
  if (!rows.ok()) return rows.status();
  rows->op = engine::Op::kScore;
  auto encoding = AddInput(request, limits, /*answers_rows=*/true, /*columns=*/1, *rows);
  if (!encoding.ok()) return encoding.status();
  rows->span.output = Allocate(*encoding, rows->span.rows, rows->span.input.cols, *response.mutable_score());
  rows->span.log = Allocate(*encoding, rows->span.rows, *response.mutable_log_prob());
  rows->bytes = request.ByteSizeLong() + response.ByteSizeLong();
  return rows;
}

absl::Status CompleteRows(const RowRequest& request, int shard, std::vector<double>& scratch) {
  telemetry::ModelSeries& series = request.model->series();
  series.OnRows(request.op, request.span.rows);
  if (request.op != engine::Op::kLogProb && request.op != engine::Op::kLogProbWithError) return absl::OkStatus();
  ReadColumn(request.span.log, scratch);
  absl::Status supported = CheckSupport(request, scratch);
  if (!request.non_finite.empty()) {
    const auto answer_nan = [&](const MutableMatrix& column) {
      for (const size_t row : request.non_finite) scratch[row] = std::numeric_limits<double>::quiet_NaN();
      WriteColumn(scratch, column);
    };
    if (request.span.output.data != nullptr) {  // the standard error
      ReadColumn(request.span.output, scratch);
      answer_nan(request.span.output);
      ReadColumn(request.span.log, scratch);
    }
    answer_nan(request.span.log);
  }
  // Metrics are about the densities of rows that have one.
  const auto finite = [&]() -> const std::vector<double>& {
    if (request.non_finite.empty()) return scratch;
    thread_local std::vector<double> others;
    others.clear();
    auto excluded = request.non_finite.begin();
    for (size_t row = 0; row < scratch.size(); ++row) {
      if (excluded != request.non_finite.end() && *excluded == row) {
        ++excluded;
      } else {
        others.push_back(scratch[row]);
      }
    }
    return others;
  };
  series.OnLogProb(shard, finite());
  const TailProbability& tail_probability = request.model->tail_probability();
  if (!tail_probability.available()) return supported;
  for (double& value : scratch) value = tail_probability(value);
  series.OnPercentile(shard, finite());
  if (request.tail_probability.data != nullptr) WriteColumn(scratch, request.tail_probability);
  return supported;
}

absl::Status CheckMessageBytes(uint64_t bytes, uint64_t max_message_bytes) {
  if (bytes <= max_message_bytes) return absl::OkStatus();
  return InvalidArgument("request", absl::StrCat("has ", bytes, " bytes; the server's --max-message-bytes allows ",
                                                 max_message_bytes, ". Send it in smaller parts"));
}

}  // namespace densityd::rpc
