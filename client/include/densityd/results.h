// What the client gives back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "densityd/rows.h"

namespace densityd {

/// The model version that gave an answer.
struct ModelVersion {
  std::string name = {};
  uint64_t version = 0;

  /// `name@version`, which names exactly this version in any call.
  std::string ToString() const { return name + "@" + std::to_string(version); }
  bool operator==(const ModelVersion&) const = default;
};

/// Answer of LogProb.
template <RowNumber T>
struct LogProbResult {
  ModelVersion model = {};
  std::vector<T> log_prob = {};          ///< log p(x | context) in nats of the original columns, (N)
  std::vector<T> tail_probability = {};  ///< if asked: share of validation rows that were at most this likely, (N)
  std::vector<T> standard_error = {};    ///< if asked: of log p where the model estimates it, else 0, nats, (N)
};

/// Answer of Inverse and Forward.
template <RowNumber T>
struct MapResult {
  ModelVersion model = {};
  Rows<T> rows = {};                ///< Inverse: z; Forward: x; (N, D)
  std::vector<T> log_abs_det = {};  ///< log|det dz/dx| or log|det dx/dz|, (N)
};

/// Answer of Score.
template <RowNumber T>
struct ScoreResult {
  ModelVersion model = {};
  Rows<T> score = {};            ///< d log p(x | context) / dx, (N, D), nats per unit of each column
  std::vector<T> log_prob = {};  ///< log p(x | context) in nats, (N)
};

/// Answer of Sample.
template <RowNumber T>
struct SampleResult {
  ModelVersion model = {};
  Rows<T> rows = {};             ///< x, (N, D)
  std::vector<T> log_prob = {};  ///< if asked: log p(x) in nats, (N)
  uint64_t seed = 0;             ///< the seed that was used
};

/// Answer of Explain: one number per row and column asked, (N, J).
template <RowNumber T>
struct Explanation {
  ModelVersion model = {};
  std::vector<T> log_prob = {};   ///< log p(x | context) in nats, (N)
  Rows<T> surprise = {};          ///< -log p(x_j | all other columns), nats
  Rows<T> tail_probability = {};  ///< two-sided: small means unusual given the others
  Rows<T> median = {};            ///< what was expected, in the column's units
  Rows<T> lower = {};             ///< 5 % quantile
  Rows<T> upper = {};             ///< 95 % quantile
  Rows<T> error = {};             ///< estimated relative error of the integrals behind them

  /// If asked, and where the model has one order of columns: -log p(x_j | the columns before j), nats, (N, D), in the
  /// data's order; a row's add up to -log p(x).
  Rows<T> chain_rule = {};
  std::vector<uint32_t> chain_order = {};  ///< that order, (D), the first column first
  std::string no_chain_rule_because = {};  ///< why there is no chain_rule, although it was asked for
};

/// State of a server, or of one model in it.
enum class Health { kServing, kNotServing };

}  // namespace densityd
