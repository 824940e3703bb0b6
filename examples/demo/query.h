// What the demo asks of one trained model.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "densityd/client.h"
#include "examples/demo/data.h"

namespace densityd::demo {

/// Answers about one model.
struct Answers {
  std::string name;                      ///< for people
  std::string version;                   ///< `name@version` that gave the answers
  uint64_t parameters = 0;               ///< learnt parameters
  double seconds = 0;                    ///< of the training
  std::vector<float> held_out_log_prob;  ///< nats per held-out row
  std::vector<float> anomaly_log_prob;   ///< nats per planted row
  std::vector<float> anomaly_tail;       ///< share of validation rows that are as unlikely as each planted row
  Rows<float> samples;
};

/// Mean, and twice its standard error.
struct Mean {
  double value = 0;
  double two_errors = 0;
};
Mean MeanOf(const std::vector<float>& values);

/// The value that a share `level` of the values does not exceed. Precondition: values is not empty.
float Quantile(std::vector<float> values, double level);

/// Scores the held-out and the planted rows and draws `samples` rows.
absl::StatusOr<Answers> Query(const Client& client, const density::v1::Training& training, std::string name,
                              const Data& data, const Rows<float>& planted, size_t samples);

/// How well x -> z -> x closes.
struct RoundTrip {
  double worst_value = 0;        ///< max |x' - x| / max(|x|, deviation of the column)
  double worst_log_abs_det = 0;  ///< max |log|det dz/dx| + log|det dx/dz||, nats
};
absl::StatusOr<RoundTrip> CheckRoundTrip(const Client& client, const std::string& model, const Rows<float>& rows);

/// Whether two draws with one seed, one of them in two parts, are equal bit for bit.
absl::StatusOr<bool> SamplesRepeat(const Client& client, const std::string& model);

}  // namespace densityd::demo
