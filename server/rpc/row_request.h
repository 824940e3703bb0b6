// Checks of the row RPCs: from a request message to rows that are ready to run. Knows nothing of gRPC.
#pragma once

#include <cstddef>
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
  /// LogProb that accepts them: the rows that are not finite, ascending. CompleteRows answers NaN for them; what is run
  /// is `finite`, in which a finite row stands in their place.
  std::vector<size_t> non_finite;
  std::vector<std::byte> finite;
  bool refuse_outside_support = false;  ///< LogProb: a row whose density is zero is an error
};

/// Check a request, pin its model version (or take the one that is given, whatever the request names), and make room
/// for the answer in `response`, which is filled except for the numbers. The request is copied nowhere: it must live
/// and stay as it is until the rows have run.
///
/// Errors are those of DensityEstimator: INVALID_ARGUMENT naming field, row and column; NOT_FOUND,
/// FAILED_PRECONDITION and DATA_LOSS of the model.
absl::StatusOr<RowRequest> PrepareRows(const density::v1::LogProbRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::LogProbResponse& response);
absl::StatusOr<RowRequest> PrepareRows(const density::v1::LogProbRequest& request, registry::ModelHandle model,
                                       const RowLimits& limits, density::v1::LogProbResponse& response);
absl::StatusOr<RowRequest> PrepareRows(const density::v1::SampleRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::SampleResponse& response);
absl::StatusOr<RowRequest> PrepareRows(const density::v1::InverseRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::InverseResponse& response);
absl::StatusOr<RowRequest> PrepareRows(const density::v1::ForwardRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::ForwardResponse& response);
absl::StatusOr<RowRequest> PrepareRows(const density::v1::ScoreRequest& request, const registry::ModelManager& models,
                                       const RowLimits& limits, density::v1::ScoreResponse& response);

/// The same for what is to be explained, `columns` columns of each row: room is made by whoever runs it.
absl::StatusOr<RowRequest> PrepareRows(const density::v1::ExplainRequest& request, size_t columns,
                                       registry::ModelHandle model, const RowLimits& limits,
                                       density::v1::ExplainResponse& response);

/// A sample that is drawn in chunks of equally many rows; the last one may have fewer.
class SampleChunks {
 public:
  /// Checks everything and pins the model version. The request must live and stay as it is. Errors as PrepareRows.
  static absl::StatusOr<SampleChunks> Create(const density::v1::StreamSampleRequest& request,
                                             const registry::ModelManager& models, const RowLimits& limits);

  /// Rows that Next has not given out yet.
  uint64_t remaining() const { return rows_ - next_row_; }
  /// Makes room for the next chunk in an empty `response`. Precondition: remaining() > 0.
  RowRequest Next(density::v1::SampleResponse& response);

 private:
  SampleChunks() = default;

  std::string name_;
  uint64_t version_ = 0;
  RowRequest sample_;  ///< all rows, without room for them
  density::v1::Encoding encoding_ = density::v1::ENCODING_UNSPECIFIED;
  bool log_prob_ = false;
  uint64_t rows_ = 0;
  uint64_t chunk_rows_ = 0;
  uint64_t next_row_ = 0;
};

/// After the rows have run: fills in tail probabilities and counts the rows. `scratch` is working memory.
/// INVALID_ARGUMENT naming the row where one is outside the model's support and the request does not take that.
absl::Status CompleteRows(const RowRequest& request, int shard, std::vector<double>& scratch);

/// INVALID_ARGUMENT where a request is larger than --max-message-bytes, naming the flag.
absl::Status CheckMessageBytes(uint64_t bytes, uint64_t max_message_bytes);

}  // namespace densityd::rpc
