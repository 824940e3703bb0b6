// Checks of Explain, and its answer. Knows nothing of gRPC.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "density/v1/density_estimator.pb.h"
#include "server/explain/explainer.h"
#include "server/registry/model_manager.h"
#include "server/rpc/row_request.h"

namespace densityd::rpc {

/// Rows times columns that one request may have explained: some seconds of one core.
inline constexpr uint64_t kMaxExplainedNumbers = 4096;

/// A checked Explain request. `rows.span` has its input and context; nothing was made room for.
struct ExplainRequest {
  RowRequest rows;
  std::vector<uint32_t> columns;
  std::unique_ptr<explain::Explainer> explainer;
  /// log p(x_j | the columns before), (N, D), to be computed first; empty where there is none, or not asked.
  std::vector<double> log_prob_by_column;
};

/// Checks a request and pins its model version, which is written into `response`. Errors as PrepareRows, and
/// FAILED_PRECONDITION for a model without ranges.
absl::StatusOr<ExplainRequest> PrepareExplain(const density::v1::ExplainRequest& request,
                                              const registry::ModelManager& models, const RowLimits& limits,
                                              density::v1::ExplainResponse& response);

/// An error of the explainer's points as one of the request's rows: where log p of a point cannot be computed, the row
/// and the column that cannot be explained, and the value that was tried. Other errors as they are.
absl::Status OfRequest(const absl::Status& status, const explain::Explainer& explainer);

/// Writes the answer. Precondition: explainer->is_done().
void FillExplanation(const ExplainRequest& request, density::v1::Encoding encoding,
                     density::v1::ExplainResponse& response);

}  // namespace densityd::rpc
