#include "server/rpc/explain_request.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/bad_row.h"
#include "server/base/errors.h"
#include "server/engine/rows.h"
#include "server/rpc/matrix.h"

namespace densityd::rpc {
namespace {

absl::StatusOr<std::vector<uint32_t>> Columns(const density::v1::ExplainRequest& request, size_t features) {
  std::vector<uint32_t> columns(request.columns().begin(), request.columns().end());
  if (columns.empty()) {
    columns.resize(features);
    std::iota(columns.begin(), columns.end(), 0);
  }
  std::vector<char> seen(features);
  for (size_t i = 0; i < columns.size(); ++i) {
    const std::string field = absl::StrCat("columns[", i, "]");
    if (columns[i] >= features) {
      return InvalidArgument(
          field, absl::StrCat("is ", columns[i], "; the model has ", features, " columns, and the first is 0"));
    }
    if (seen[columns[i]] != 0) return InvalidArgument(field, absl::StrCat("repeats column ", columns[i]));
    seen[columns[i]] = 1;
  }
  return columns;
}

/// Makes room for the terms of the chain rule, or says why there are none.
void PrepareChain(ExplainRequest& prepared, density::v1::ExplainResponse& response) {
  const flow::ChainOrder& chain = prepared.rows.model->chain_order();
  if (!chain.exists()) {
    response.set_no_chain_rule_because(
        absl::StrCat(chain.obstacle, ". The preset option mixing = SAME_ORDER makes a flow that has one order"));
    return;
  }
  response.mutable_chain_order()->Assign(chain.columns.begin(), chain.columns.end());
  prepared.log_prob_by_column.resize(prepared.rows.span.rows * chain.columns.size());
}

/// Numbers of the points of one round, about: 16 MiB.
constexpr size_t kBatchNumbers = size_t{2} << 20;

explain::ExplainOptions Options(NumberType precision, size_t features, double solver_noise) {
  explain::ExplainOptions options;
  options.batch_points = std::clamp<size_t>(kBatchNumbers / features, 1, options.batch_points);
  options.noise = solver_noise;
  if (precision == NumberType::kFloat64) {
    options.tolerance = 1e-6;
  } else {
    // What float32 plans promise (docs/engine.md) is the difference from float64. Between neighbouring points it is
    // about a tenth of that.
    options.noise += 1e-5;
    options.noise_per_nat = 1e-6;
  }
  return options;
}

}  // namespace

absl::StatusOr<ExplainRequest> PrepareExplain(const density::v1::ExplainRequest& request,
                                              const registry::ModelManager& models, const RowLimits& limits,
                                              density::v1::ExplainResponse& response) {
  auto handle = models.Acquire(request.model());
  if (!handle.ok()) return handle.status();
  const auto& model = static_cast<const ServedModel&>(*handle->servable);
  const size_t features = model.plan(NumberType::kFloat32)->info().features;
  auto columns = Columns(request, features);
  if (!columns.ok()) return columns.status();
  const std::vector<explain::ColumnRange>& known = model.column_ranges();
  if (known.empty()) {
    return FailedPrecondition("model", request.model(),
                              "was stored without the ranges of its columns, which Explain starts from");
  }
  ExplainRequest prepared;
  auto rows = PrepareRows(request, columns->size(), *std::move(handle), limits, response);
  if (!rows.ok()) return rows.status();
  prepared.rows = *std::move(rows);
  const size_t count = prepared.rows.span.rows;
  if (count * columns->size() > kMaxExplainedNumbers) {
    return InvalidArgument(
        "rows.rows",
        absl::StrCat("is ", count, "; with ", columns->size(), " columns a request may have ",
                     kMaxExplainedNumbers / columns->size(), " rows. Ask in several requests, or for fewer columns"));
  }
  std::vector<double> x(count * features);
  engine::ReadRows(prepared.rows.span.input, x.data());
  std::vector<explain::ColumnRange> ranges;
  for (uint32_t column : *columns) ranges.push_back(known[column]);
  if (request.chain_rule()) PrepareChain(prepared, response);
  prepared.columns = *columns;
  prepared.explainer =
      std::make_unique<explain::Explainer>(std::move(x), features, *std::move(columns), std::move(ranges),
                                           Options(prepared.rows.precision, features, model.solver_noise()));
  return prepared;
}

absl::Status OfRequest(const absl::Status& status, const explain::Explainer& explainer) {
  const std::optional<BadRow> bad = BadRowOf(status);
  if (!bad || bad->row >= explainer.origin().size()) return status;
  const uint32_t row = explainer.origin()[bad->row];
  const std::optional<size_t> column = explainer.ChangedColumn(bad->row);
  if (!column) return InvalidRow("rows", row, bad->message);
  const double value = explainer.points()[bad->row * explainer.features() + *column];
  return InvalidRow("rows", row,
                    absl::StrCat("column ", *column, " cannot be explained, for log p has no value with ", value,
                                 " in its place: ", bad->message, ". Leave the column out (`columns`), or the row"));
}

void FillExplanation(const ExplainRequest& request, density::v1::Encoding encoding,
                     density::v1::ExplainResponse& response) {
  const explain::Explainer& explainer = *request.explainer;
  const size_t rows = explainer.log_prob().size();
  engine::WriteRows(explainer.log_prob().data(), Allocate(encoding, rows, *response.mutable_log_prob()));
  std::vector<double> values(explainer.answers().size());
  const auto fill = [&](double explain::ColumnAnswer::*member, density::v1::Matrix& matrix) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = explainer.answers()[i].*member;
    engine::WriteRows(values.data(), Allocate(encoding, rows, request.columns.size(), matrix));
  };
  fill(&explain::ColumnAnswer::surprise, *response.mutable_surprise());
  fill(&explain::ColumnAnswer::tail_probability, *response.mutable_tail_probability());
  fill(&explain::ColumnAnswer::median, *response.mutable_median());
  fill(&explain::ColumnAnswer::lower, *response.mutable_lower());
  fill(&explain::ColumnAnswer::upper, *response.mutable_upper());
  fill(&explain::ColumnAnswer::error, *response.mutable_error());
  if (request.log_prob_by_column.empty()) return;
  std::vector<double> chain = request.log_prob_by_column;
  for (double& term : chain) term = -term;
  engine::WriteRows(chain.data(), Allocate(encoding, rows, chain.size() / rows, *response.mutable_chain_rule()));
}

}  // namespace densityd::rpc
