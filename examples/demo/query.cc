#include "examples/demo/query.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace densityd::demo {

Mean MeanOf(const std::vector<float>& values) {
  const auto count = static_cast<double>(values.size());
  double sum = 0;
  for (const float value : values) sum += value;
  const double mean = sum / count;
  double squares = 0;
  for (const float value : values) squares += (value - mean) * (value - mean);
  return {.value = mean, .two_errors = 2 * std::sqrt(squares / (count - 1) / count)};
}

float Quantile(std::vector<float> values, double level) {
  const auto rank = static_cast<size_t>(level * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(rank), values.end());
  return values[rank];
}

absl::StatusOr<Answers> Query(const Client& client, const density::v1::Training& training, std::string name,
                              const Data& data, const Rows<float>& planted, size_t samples) {
  auto held_out = client.LogProb(training.model(), data.held_out);
  if (!held_out.ok()) return held_out.status();
  auto anomalies = client.LogProb(training.model(), planted, {.tail_probability = true});
  if (!anomalies.ok()) return anomalies.status();
  auto drawn = client.Sample<float>(training.model(), samples, {.seed = 1});
  if (!drawn.ok()) return drawn.status();
  return Answers{.name = std::move(name),
                 .version = held_out->model.ToString(),
                 .parameters = training.report().parameters(),
                 .seconds = training.report().seconds(),
                 .held_out_log_prob = std::move(held_out->log_prob),
                 .anomaly_log_prob = std::move(anomalies->log_prob),
                 .anomaly_tail = std::move(anomalies->tail_probability),
                 .samples = std::move(drawn->rows)};
}

absl::StatusOr<RoundTrip> CheckRoundTrip(const Client& client, const std::string& model, const Rows<float>& rows) {
  const auto base = client.Inverse(model, rows);
  if (!base.ok()) return base.status();
  const auto back = client.Forward(model, base->rows);
  if (!back.ok()) return back.status();
  const Moments moments = ColumnMoments(rows);
  RoundTrip worst;
  for (size_t i = 0; i < rows.values.size(); ++i) {
    const double scale = std::max<double>(std::abs(rows.values[i]), moments.deviation[i % rows.cols]);
    worst.worst_value = std::max(worst.worst_value, std::abs(back->rows.values[i] - rows.values[i]) / scale);
  }
  for (size_t i = 0; i < rows.rows; ++i) {
    const double sum = static_cast<double>(base->log_abs_det[i]) + back->log_abs_det[i];
    worst.worst_log_abs_det = std::max(worst.worst_log_abs_det, std::abs(sum));
  }
  return worst;
}

absl::StatusOr<bool> SamplesRepeat(const Client& client, const std::string& model) {
  const auto whole = client.Sample<float>(model, 100, {.seed = 7});
  const auto begin = client.Sample<float>(model, 40, {.seed = 7});
  const auto end = client.Sample<float>(model, 60, {.seed = 7, .row_offset = 40});
  for (const auto* part : {&whole, &begin, &end}) {
    if (!part->ok()) return part->status();
  }
  std::vector<float> joined = begin->rows.values;
  joined.insert(joined.end(), end->rows.values.begin(), end->rows.values.end());
  return joined == whole->rows.values;
}

}  // namespace densityd::demo
