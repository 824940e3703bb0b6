#include "server/telemetry/model_series.h"

#include <utility>

namespace densityd::telemetry {

ModelSeries::ModelSeries(const std::string& model, std::shared_ptr<prometheus::Family<prometheus::Counter>> rows,
                         HistogramFamily& log_prob, HistogramFamily& percentile)
    : rows_family_(std::move(rows)),
      log_prob_(log_prob.Add({{"model", model}})),
      percentile_(percentile.Add({{"model", model}})) {
  for (int op = 0; op < engine::kOpCount; ++op) {
    rows_[op] = &rows_family_->Add({{"model", model}, {"op", engine::OpName(static_cast<engine::Op>(op))}});
  }
}

ModelSeries::~ModelSeries() {
  for (prometheus::Counter* counter : rows_) rows_family_->Remove(counter);
}

}  // namespace densityd::telemetry
