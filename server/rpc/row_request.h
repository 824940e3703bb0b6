// Checks of the row RPCs: from a request message to rows that are ready to run. Knows nothing of gRPC.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/density_estimator.pb.h"
#include "server/engine/plan.h"
#include "server/registry/model_manager.h"
#include "server/rpc/served_model.h"

namespace densityd::rpc {

struct RowLimits {
  uint64_t max_request_rows = 1 << 20;
  uint64_t max_message_bytes = uint64_t{64} << 20;
};

/// A checked request: which model answers, and where its rows are read and written. Views point into the request and
/// the response.
struct RowRequest {
  std::shared_ptr<const ServedModel> model;
  NumberType precision = NumberType::kFloat32;
  engine::Op op = engine::Op::kLogProb;
  engine::RowSpan span;
  size_t bytes = 0;                ///< of the request and its answer in memory
  MutableMatrix tail_probability;  ///< LogProb: to be filled from span.log; empty where not asked for
};

/// Check a request, pin its model version, and make room for the answer in `response`, which is filled except for the
/// numbers. The request is copied nowhere: it must live and stay as it is until the rows have run.
///
/// Errors are those of DensityEstimator: INVALID_ARGUMENT naming field, row and column; NOT_FOUND,
/// FAILED_PRECONDITION and DATA_LOSS of the model.
absl::StatusOr<RowRequest> PrepareRows(const density::v1::LogProbRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::LogProbResponse& response);
absl::StatusOr<RowRequest> PrepareRows(const density::v1::SampleRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::SampleResponse& response);
absl::StatusOr<RowRequest> PrepareRows(const density::v1::InverseRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::InverseResponse& response);
absl::StatusOr<RowRequest> PrepareRows(const density::v1::ForwardRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::ForwardResponse& response);

/// After the rows have run: fills in tail probabilities and counts the rows. `scratch` is working memory.
void CompleteRows(const RowRequest& request, int shard, std::vector<double>& scratch);

/// INVALID_ARGUMENT where a request is larger than --max-message-bytes, naming the flag.
absl::Status CheckMessageBytes(uint64_t bytes, uint64_t max_message_bytes);

}  // namespace densityd::rpc
