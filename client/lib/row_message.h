// What requests about rows have in common: shapes that are checked before sending, and how much fits a message.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/lib/chunks.h"
#include "client/lib/matrix_codec.h"
#include "density/v1/matrix.pb.h"
#include "density/v1/model_registry.grpc.pb.h"
#include "densityd/options.h"
#include "densityd/rows.h"

namespace densityd::client_internal {

inline density::v1::Precision ToProto(Precision precision) {
  return precision == Precision::kFloat64 ? density::v1::PRECISION_FLOAT64 : density::v1::PRECISION_FLOAT32;
}

/// INVALID_ARGUMENT where `context` is neither one row nor one for each of `rows` rows, nor none.
template <typename T>
absl::Status CheckContext(RowsView<T> context, uint64_t rows) {
  if (context.empty()) return absl::OkStatus();
  if (!context.well_formed() || context.rows() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("context: ", context.values().size(), " numbers are no rows of ", context.cols(), " columns"));
  }
  if (context.rows() != 1 && context.rows() != rows) {
    return absl::InvalidArgumentError(
        absl::StrCat("context: has ", context.rows(), " rows; one, or one for each of the ", rows, " rows, is needed"));
  }
  return absl::OkStatus();
}

/// INVALID_ARGUMENT where there are no whole rows, or the context does not fit them.
template <typename T>
absl::Status CheckRows(RowsView<T> rows, RowsView<T> context) {
  if (!rows.well_formed()) {
    return absl::InvalidArgumentError(
        absl::StrCat("rows: ", rows.values().size(), " numbers are no rows of ", rows.cols(), " columns"));
  }
  if (rows.rows() == 0) return absl::InvalidArgumentError("rows: at least one is needed");
  return CheckContext(context, rows.rows());
}

/// The part of the context that belongs to rows [begin, begin + count).
template <typename T>
void EncodeContext(RowsView<T> context, size_t begin, size_t count, density::v1::Matrix* message) {
  Encode(context.rows() == 1 ? context : context.Slice(begin, count), message);
}

/// Most rows of `cols` columns, with their context, that fit a request and its answer.
template <typename T>
absl::StatusOr<size_t> ChunkRows(const ClientOptions& options, size_t cols, RowsView<T> context) {
  const bool shared = context.rows() <= 1;
  const size_t context_bytes = context.cols() * sizeof(T);
  const size_t request_bytes = cols * sizeof(T) + (shared ? 0 : context_bytes);
  const size_t answer_bytes = (cols + 1) * sizeof(T);
  return RowsPerRequest(options, std::max(request_bytes, answer_bytes), shared ? context_bytes : 0);
}

/// How many rows of a sample fit one request. Asks the server how wide the model's rows are, unless that many rows of
/// any model fit.
template <typename T, typename Impl>
absl::StatusOr<size_t> SampleChunkRows(const Impl& impl, const std::string& model, uint64_t rows, RowsView<T> context,
                                       absl::Time deadline) {
  constexpr size_t kWidestModel = 65536;
  const absl::StatusOr<size_t> any_model = ChunkRows(impl.options, kWidestModel, context);
  if (any_model.ok() && rows <= *any_model) return *any_model;
  density::v1::GetModelRequest request;
  request.set_model(model);
  density::v1::ModelDetail detail;
  absl::Status status = impl.Call(*impl.registry, &density::v1::ModelRegistry::Stub::Get, request, deadline,
                                  Impl::Repeat::kAllowed, &detail);
  if (!status.ok()) return status;
  return ChunkRows(impl.options, detail.info().features(), context);
}

}  // namespace densityd::client_internal
