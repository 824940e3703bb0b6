#include "server/flow/fit_preprocessing.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/base/errors.h"
#include "server/flow/column_map.h"
#include "server/flow/context_column.h"

namespace densityd::flow {
namespace {

using density::v1::ColumnPreprocessing;
using density::v1::Preprocessing;

/// Interquartile range of N(0, 1).
constexpr double kNormalRange = 1.3489795003921634;
/// Rows that a power is fitted to: its error is then some thousandths.
constexpr size_t kPowerRows = 32768;
/// Rows that anything else is fitted to: a mean is then known to a thousandth of the standard deviation.
constexpr size_t kFitRows = size_t{1} << 20;
/// Nats per row by which a map must bring a column closer to a normal distribution than the next simpler one.
constexpr double kGain = 0.05;
/// Standard deviations of a normal distribution with the same middle half, above which a column has outliers.
constexpr double kOutliers = 2;
constexpr int kMaxCategories = 1024;

/// The noise of row `row`: a sequence that fills (0, 1) evenly (multiples of the golden ratio). Never 0: the smallest
/// whole number of a column would lie on the edge of its support.
double Noise(size_t row) {
  const double turns = static_cast<double>(row + 1) * std::numbers::phi;
  return turns - std::floor(turns);
}

/// y of every row, with noise instead of 1/2 where it is discrete; of one row of each kFitRows-th part of them where
/// there are more.
std::vector<double> DequantizeRows(const ColumnForm& form, const ColumnRows& rows, size_t column) {
  const size_t step = (rows.rows() + kFitRows - 1) / kFitRows;
  std::vector<double> numbers;
  numbers.reserve(rows.rows() / std::max<size_t>(step, 1) + 1);
  for (size_t begin = 0; begin < rows.rows(); begin += step) {
    // Not always the first one: data may have a period.
    const size_t row = std::min(begin + static_cast<size_t>(Noise(begin) * static_cast<double>(step)), rows.rows() - 1);
    numbers.push_back(Dequantize(form, rows(row, column)));
    if (form.is_discrete()) numbers.back() += Noise(row) - 0.5;
  }
  return numbers;
}

/// Mean, spread and mean log-slope of numbers after a map.
struct Moments {
  double mean;
  double deviation;
  double log_slope;  ///< -infinity where one is outside the support

  /// Mean log-likelihood of the normal distribution that fits best, nats per row, but for a constant.
  double score() const { return log_slope - std::log(deviation); }
};

Moments MomentsOf(const ColumnForm& form, const std::vector<double>& numbers, size_t step = 1) {
  std::vector<double> mapped;
  double log_slope = 0;
  for (size_t i = 0; i < numbers.size(); i += step) {
    const MappedNumber one = MapDequantized(form, numbers[i]);
    log_slope += one.log_slope;
    mapped.push_back(one.value);
  }
  const auto count = static_cast<double>(mapped.size());
  // Differences from the first number: a column far from 0 would lose its digits otherwise.
  double sum = 0;
  for (double number : mapped) sum += number - mapped[0];
  const double mean = mapped[0] + sum / count;
  double squares = 0;
  for (double number : mapped) squares += (number - mean) * (number - mean);
  return {mean, std::sqrt(squares / count), log_slope / count};
}

/// The value below which a share of `numbers` lies, linear between neighbours. Reorders them.
double Quantile(std::vector<double>& numbers, double share) {
  const double position = share * static_cast<double>(numbers.size() - 1);
  const auto below = numbers.begin() + static_cast<std::ptrdiff_t>(position);
  std::nth_element(numbers.begin(), below, numbers.end());
  const double low = *below;
  if (below + 1 == numbers.end()) return low;
  return std::lerp(low, *std::min_element(below + 1, numbers.end()), position - std::floor(position));
}

/// The power within [0, 2] of highest likelihood, by golden sections.
double FitPower(ColumnForm form, const std::vector<double>& numbers) {
  const size_t step = (numbers.size() + kPowerRows - 1) / kPowerRows;
  const auto score = [&](double power) {
    form.power = power;
    return MomentsOf(form, numbers, step).score();
  };
  const double share = std::numbers::phi - 1;
  double low = 0;
  double high = 2;
  double left = high - share * (high - low);
  double right = low + share * (high - low);
  double left_score = score(left);
  double right_score = score(right);
  while (high - low > 1e-4) {
    if (left_score > right_score) {
      high = std::exchange(right, left);
      right_score = left_score;
      left = high - share * (high - low);
      left_score = score(left);
    } else {
      low = std::exchange(left, right);
      left_score = right_score;
      right = low + share * (high - low);
      right_score = score(right);
    }
  }
  return (low + high) / 2;
}

/// "price: ", for messages; empty where the column has no name.
std::string NameOf(const ColumnPreprocessing& column) {
  return column.name().empty() ? "" : absl::StrCat("column '", column.name(), "': ");
}

/// One column that is fitted.
class ColumnFit {
 public:
  ColumnFit(const ColumnRows& train, const ColumnRows& held_out, size_t index, std::string field,
            ColumnPreprocessing& column)
      : train_(train), held_out_(held_out), index_(index), field_(std::move(field)), column_(column) {}

  absl::Status Run(ColumnRole role) {
    if (column_.kind() == ColumnPreprocessing::CIRCULAR) return FitCircle();
    if (column_.kind() == ColumnPreprocessing::CATEGORICAL) {
      if (auto status = FillCategories(); !status.ok() || role == ColumnRole::kContext) return status;
      column_.set_scaling(ColumnPreprocessing::LOGIT);
    }
    const bool is_automatic = column_.scaling() == ColumnPreprocessing::SCALING_UNSPECIFIED ||
                              column_.scaling() == ColumnPreprocessing::AUTOMATIC;
    if (column_.kind() == ColumnPreprocessing::KIND_UNSPECIFIED)
      FillKind(is_automatic && role == ColumnRole::kFeatures);
    if (is_automatic) return Choose();
    if (column_.scaling() == ColumnPreprocessing::LOG && !column_.has_low()) column_.set_low(0);
    return FitScaling();
  }

 private:
  absl::Status Refuse(const std::string& why) const { return InvalidArgument(field_, NameOf(column_) + why); }

  absl::Status FitCircle() {
    column_.set_scaling(ColumnPreprocessing::NONE);
    if (!column_.has_low()) column_.set_low(-std::numbers::pi);
    if (!column_.has_high()) column_.set_high(std::numbers::pi);
    return absl::OkStatus();
  }

  absl::Status FillCategories() {
    if (!column_.categories().empty()) return absl::OkStatus();
    std::set<float> values;
    // A value that is met in the held-out rows only is to be known too, unless there is a place for unknown ones.
    const size_t held_out = column_.accept_unknown() ? 0 : held_out_.rows();
    for (size_t i = 0; i < train_.rows() + held_out; ++i) {
      const double value = i < train_.rows() ? train_(i, index_) : held_out_(i - train_.rows(), index_);
      if (!std::isnan(value)) values.insert(static_cast<float>(value));
      if (values.size() > kMaxCategories) {
        return Refuse(absl::StrCat("has more than ", kMaxCategories, " different values, too many for CATEGORICAL"));
      }
    }
    if (values.size() < 2) return Refuse("has one value only, which needs no category");
    column_.mutable_categories()->Assign(values.begin(), values.end());
    return absl::OkStatus();
  }

  bool IsWhole(double number) const { return std::floor(number) == number; }

  void FillKind(bool may_be_integer) {
    bool whole = may_be_integer && (!column_.has_low() || IsWhole(column_.low())) &&
                 (!column_.has_high() || IsWhole(column_.high()));
    for (size_t row = 0; whole && row < train_.rows(); ++row) {
      const double value = train_(row, index_);
      whole = std::isnan(value) || IsWhole(value);
    }
    column_.set_kind(whole ? ColumnPreprocessing::INTEGER : ColumnPreprocessing::CONTINUOUS);
    if (whole) reason_ = "every number is whole; ";
  }

  std::vector<double> Numbers() const {
    std::vector<double> numbers = DequantizeRows(FormOf(column_), train_, index_);
    numbers.erase(std::remove_if(numbers.begin(), numbers.end(), [](double y) { return std::isnan(y); }),
                  numbers.end());
    return numbers;
  }

  /// Fills in power, centre and scale of the scaling.
  absl::Status FitScaling() {
    if (column_.scaling() == ColumnPreprocessing::NONE) return absl::OkStatus();
    std::vector<double> numbers = Numbers();
    if (numbers.empty()) return Refuse("has no numbers in the train split");
    ColumnPreprocessing shape = column_;
    shape.clear_center();
    shape.clear_scale();
    if (column_.scaling() == ColumnPreprocessing::YEO_JOHNSON && !column_.has_power()) {
      column_.set_power(FitPower(FormOf(shape), numbers));
      shape.set_power(column_.power());
    }
    if (column_.has_center() && column_.has_scale()) return absl::OkStatus();
    double center = 0;
    double scale = 0;
    if (column_.scaling() == ColumnPreprocessing::ROBUST) {
      center = Quantile(numbers, 0.5);
      scale = (Quantile(numbers, 0.75) - Quantile(numbers, 0.25)) / kNormalRange;
    } else {
      const Moments moments = MomentsOf(FormOf(shape), numbers);
      center = moments.mean;
      scale = moments.deviation;
    }
    if (!(scale > 0) || !std::isfinite(scale)) {
      return Refuse(column_.scaling() == ColumnPreprocessing::ROBUST
                        ? "has the same number in its whole middle half, so that ROBUST has no scale; "
                          "take STANDARD"
                        : "is constant, so that it has no scale");
    }
    if (!column_.has_center()) column_.set_center(center);
    if (!column_.has_scale()) column_.set_scale(scale);
    return absl::OkStatus();
  }

  /// `scaling` of the column, with ends.
  ColumnPreprocessing Candidate(ColumnPreprocessing::Scaling scaling, std::optional<double> low,
                                std::optional<double> high) const {
    ColumnPreprocessing candidate = column_;
    candidate.set_scaling(scaling);
    if (low.has_value()) candidate.set_low(*low);
    if (high.has_value()) candidate.set_high(*high);
    return candidate;
  }

  /// Whether each row of `rows`, also one that is not among those that are fitted to, lies within the support.
  bool Holds(const ColumnRows& rows, const ColumnForm& form) const {
    for (size_t row = 0; row < rows.rows(); ++row) {
      const double x = rows(row, index_);
      if (!std::isnan(x) && !std::isfinite(MapToBase(form, x).log_slope)) return false;
    }
    return true;
  }
  bool HoldsEveryRow(const ColumnForm& form) const { return Holds(train_, form) && Holds(held_out_, form); }

  /// Takes `candidate` for the reason given.
  absl::Status Take(ColumnPreprocessing candidate, const std::string& reason) {
    column_ = std::move(candidate);
    auto status = FitScaling();
    column_.set_reason(reason_ + reason);
    return status;
  }

  absl::Status Choose() {
    if (column_.has_high()) return Take(Candidate(ColumnPreprocessing::LOGIT, {}, {}), "both ends were given");
    if (column_.has_low()) return Take(Candidate(ColumnPreprocessing::LOG, {}, {}), "the lower end was given");
    const std::vector<double> numbers = Numbers();
    if (numbers.empty()) return Refuse("has no numbers in the train split");
    if (column_.kind() == ColumnPreprocessing::INTEGER) {
      const auto [low, high] = std::minmax_element(numbers.begin(), numbers.end());
      const double smallest = std::floor(*low);
      const double largest = std::floor(*high);
      const ColumnPreprocessing two = Candidate(ColumnPreprocessing::LOGIT, smallest, largest);
      if (largest - smallest == 1 && HoldsEveryRow(FormOf(two))) {
        return Take(two, absl::StrCat("only ", smallest, " and ", largest, " occur"));
      }
    }
    return ChooseByLikelihood(numbers);
  }

  /// The simplest map after which a normal distribution fits nearly best.
  absl::Status ChooseByLikelihood(const std::vector<double>& numbers) {
    ColumnPreprocessing best = Candidate(ColumnPreprocessing::STANDARD, {}, {});
    const Moments standard = MomentsOf(FormOf(best), numbers);
    double best_score = standard.score();
    const auto offer = [&](const ColumnPreprocessing& candidate) {
      const ColumnForm form = FormOf(candidate);
      const double score = MomentsOf(form, numbers).score();
      if (!(score > best_score + kGain) || !HoldsEveryRow(form)) return;
      best = candidate;
      best_score = score;
    };
    offer(Candidate(ColumnPreprocessing::LOG, 0, {}));
    // No whole number lies within (0, 1).
    if (column_.kind() != ColumnPreprocessing::INTEGER) offer(Candidate(ColumnPreprocessing::LOGIT, 0, 1));
    ColumnPreprocessing power = Candidate(ColumnPreprocessing::YEO_JOHNSON, {}, {});
    power.set_power(FitPower(FormOf(power), numbers));
    offer(power);
    const double gain = best_score - standard.score();
    switch (best.scaling()) {
      case ColumnPreprocessing::LOG:
        return Take(best,
                    absl::StrFormat("no number is below 0, and the logarithm is closer to normal by %.2f nats", gain));
      case ColumnPreprocessing::LOGIT:
        return Take(best, absl::StrFormat("all numbers lie within (0, 1), and the logit is closer to normal by %.2f "
                                          "nats",
                                          gain));
      case ColumnPreprocessing::YEO_JOHNSON:
        return Take(best,
                    absl::StrFormat("skewed; the power %.2f is closer to normal by %.2f nats", best.power(), gain));
      default:
        return ChooseLinear(numbers, standard);
    }
  }

  absl::Status ChooseLinear(std::vector<double> numbers, const Moments& standard) {
    const double range = (Quantile(numbers, 0.75) - Quantile(numbers, 0.25)) / kNormalRange;
    const ColumnPreprocessing linear = Candidate(ColumnPreprocessing::STANDARD, {}, {});
    if (range > 0 && standard.deviation > kOutliers * range) {
      return Take(Candidate(ColumnPreprocessing::ROBUST, {}, {}),
                  absl::StrFormat("outliers: the standard deviation is %.1f times that of the middle half",
                                  standard.deviation / range));
    }
    return Take(linear, "no other map brings it closer to normal");
  }

  const ColumnRows& train_;
  const ColumnRows& held_out_;
  const size_t index_;
  const std::string field_;
  ColumnPreprocessing& column_;
  std::string reason_;
};

std::string SupportOf(const ColumnPreprocessing& column) {
  const ColumnForm form = FormOf(column);
  if (!form.codes.empty()) return absl::StrCat("one of its ", form.codes.size(), " categories");
  if (form.is_whole) {
    return column.has_high() ? absl::StrCat("a whole number within ", column.low(), " … ", column.high())
                             : absl::StrCat("a whole number of at least ", column.low());
  }
  if (form.shape == ColumnForm::Shape::kCircle) {
    return absl::StrCat("an angle within [", form.low, ", ", form.high, "]");
  }
  return column.has_high() ? absl::StrCat("within (", column.low(), ", ", column.high(), ")")
                           : absl::StrCat("above ", column.low());
}

absl::Status CheckEncodable(const ColumnRows& rows, const std::string& field, const Preprocessing& encoding) {
  const std::vector<ContextColumn> columns = ContextColumns(encoding);
  for (size_t j = 0; j < columns.size(); ++j) {
    for (size_t row = 0; row < rows.rows(); ++row) {
      const std::string refusal = RefuseContextValue(columns[j], rows(row, j));
      if (refusal.empty()) continue;
      return InvalidArgument(absl::StrCat(field, ".columns[", j, "]"),
                             absl::StrCat(NameOf(encoding.columns(static_cast<int>(j))), "a number ", refusal));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status FitPreprocessing(const ColumnRows& train, const ColumnRows& held_out, ColumnRole role,
                              const std::string& field, Preprocessing& preprocessing) {
  while (static_cast<size_t>(preprocessing.columns_size()) < train.count) preprocessing.add_columns();
  for (int i = 0; i < preprocessing.columns_size(); ++i) {
    ColumnFit fit(train, held_out, static_cast<size_t>(i), absl::StrCat(field, ".columns[", i, "]"),
                  *preprocessing.mutable_columns(i));
    if (auto status = fit.Run(role); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckWithinSupport(const ColumnRows& rows, ColumnRole role, const std::string& field,
                                const Preprocessing& preprocessing) {
  if (role == ColumnRole::kContext) return CheckEncodable(rows, field, preprocessing);
  for (int i = 0; i < preprocessing.columns_size(); ++i) {
    const ColumnForm form = FormOf(preprocessing.columns(i));
    for (size_t row = 0; row < rows.rows(); ++row) {
      const double x = rows(row, static_cast<size_t>(i));
      if (std::isfinite(MapToBase(form, x).log_slope)) continue;
      return InvalidArgument(absl::StrCat(field, ".columns[", i, "]"),
                             absl::StrCat(NameOf(preprocessing.columns(i)), "a row holds ", x, ", which is not ",
                                          SupportOf(preprocessing.columns(i)),
                                          ": its density is zero, and nothing can be learnt from it"));
    }
  }
  return absl::OkStatus();
}

}  // namespace densityd::flow
