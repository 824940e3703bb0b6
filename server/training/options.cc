#include "server/training/options.h"

#include <algorithm>
#include <cmath>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace densityd::training {
namespace {

using density::v1::TrainingOptions;

constexpr uint64_t kDefaultSteps = 2000;
constexpr uint64_t kMaxSteps = 10'000'000;
constexpr uint32_t kDefaultBatchSize = 512;
constexpr uint32_t kMaxBatchSize = 1 << 20;
constexpr double kDefaultLearningRate = 1e-3;
constexpr double kMaxLearningRate = 10;
constexpr double kDefaultAdamWeightDecay = 1e-2;
constexpr double kDefaultClipNorm = 5;
constexpr double kDefaultValidationFraction = 0.1;
constexpr double kMaxValidationFraction = 0.5;
constexpr uint64_t kMaxValidationInterval = 1000;
constexpr uint32_t kDefaultNonfiniteSteps = 10;
constexpr uint32_t kMaxNonfiniteSteps = 1000;
constexpr double kDefaultCheckpointSeconds = 30;
constexpr double kMaxCheckpointSeconds = 86400;

absl::Status CheckWithin(const char* name, uint64_t value, uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return InvalidArgument(absl::StrCat("options.", name),
                         absl::StrCat("is ", value, "; it must be ", low, " to ", high));
}

absl::Status CheckThat(bool valid, const char* name, double value, const char* limit) {
  if (valid) return absl::OkStatus();
  return InvalidArgument(absl::StrCat("options.", name), absl::StrCat("is ", value, "; it must be ", limit));
}

absl::Status CheckCounts(const TrainingOptions& options) {
  const uint64_t steps = options.has_steps() ? options.steps() : kDefaultSteps;
  if (absl::Status status = CheckWithin("steps", steps, 1, kMaxSteps); !status.ok()) return status;
  if (options.has_batch_size()) {
    if (absl::Status status = CheckWithin("batch_size", options.batch_size(), 1, kMaxBatchSize); !status.ok()) {
      return status;
    }
  }
  if (absl::Status status = CheckWithin("warmup_steps", options.warmup_steps(), 0, steps - 1); !status.ok()) {
    return status;
  }
  if (options.has_validation_interval()) {
    if (absl::Status status = CheckWithin("validation_interval", options.validation_interval(), 1, kMaxSteps);
        !status.ok()) {
      return status;
    }
  }
  if (options.has_max_nonfinite_steps()) {
    if (absl::Status status = CheckWithin("max_nonfinite_steps", options.max_nonfinite_steps(), 1, kMaxNonfiniteSteps);
        !status.ok()) {
      return status;
    }
  }
  if (options.has_threads()) {
    return CheckWithin("threads", options.threads(), 1, std::max(1u, std::thread::hardware_concurrency()));
  }
  return absl::OkStatus();
}

// Every comparison is false for NaN.
absl::Status CheckNumbers(const TrainingOptions& options) {
  const double rate = options.has_learning_rate() ? options.learning_rate() : kDefaultLearningRate;
  if (absl::Status status = CheckThat(rate > 0 && rate <= kMaxLearningRate, "learning_rate", rate, "within (0, 10]");
      !status.ok()) {
    return status;
  }
  const double decay = options.weight_decay();
  if (absl::Status status = CheckThat(decay >= 0 && decay <= 1, "weight_decay", decay, "within [0, 1]"); !status.ok()) {
    return status;
  }
  const double clip = options.clip_norm();
  if (absl::Status status = CheckThat(clip >= 0 && std::isfinite(clip), "clip_norm", clip, "finite and at least 0");
      !status.ok()) {
    return status;
  }
  const double ema = options.ema_decay();
  if (absl::Status status = CheckThat(ema >= 0 && ema < 1, "ema_decay", ema, "within [0, 1)"); !status.ok()) {
    return status;
  }
  const double interval = options.checkpoint_interval_seconds();
  if (absl::Status status = CheckThat(interval >= 0 && interval <= kMaxCheckpointSeconds, "checkpoint_interval_seconds",
                                      interval, "within [0, 86400]");
      !status.ok()) {
    return status;
  }
  const double fraction =
      options.has_validation_fraction() ? options.validation_fraction() : kDefaultValidationFraction;
  return CheckThat(fraction > 0 && fraction <= kMaxValidationFraction, "validation_fraction", fraction,
                   "within (0, 0.5]");
}

absl::Status CheckEnums(const TrainingOptions& options) {
  if (!TrainingOptions::Optimizer_IsValid(options.optimizer())) {
    return InvalidArgument("options.optimizer", absl::StrCat("has no value ", static_cast<int>(options.optimizer())));
  }
  if (!TrainingOptions::Schedule_IsValid(options.schedule())) {
    return InvalidArgument("options.schedule", absl::StrCat("has no value ", static_cast<int>(options.schedule())));
  }
  if (!TrainingOptions::Trainer_IsValid(options.trainer())) {
    return InvalidArgument("options.trainer", absl::StrCat("has no value ", static_cast<int>(options.trainer())));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckOptions(const TrainingOptions& options) {
  if (absl::Status status = CheckCounts(options); !status.ok()) return status;
  if (absl::Status status = CheckNumbers(options); !status.ok()) return status;
  return CheckEnums(options);
}

absl::StatusOr<SplitSizes> ComputeSplit(const TrainingOptions& options, uint64_t rows) {
  if (rows < kMinRows) {
    return InvalidArgument("rows", absl::StrCat("the data have ", rows, " rows; a training needs at least ", kMinRows));
  }
  const double fraction =
      options.has_validation_fraction() ? options.validation_fraction() : kDefaultValidationFraction;
  SplitSizes split;
  split.validation = std::max<uint64_t>(1, static_cast<uint64_t>(std::llround(fraction * static_cast<double>(rows))));
  split.train = rows - split.validation;
  return split;
}

absl::StatusOr<TrainingOptions> ResolveOptions(TrainingOptions options, uint64_t train_rows) {
  if (!options.has_steps()) options.set_steps(kDefaultSteps);
  if (!options.has_batch_size()) {
    options.set_batch_size(static_cast<uint32_t>(std::min<uint64_t>(kDefaultBatchSize, train_rows)));
  }
  if (options.batch_size() > train_rows) {
    return InvalidArgument("options.batch_size",
                           absl::StrCat("is ", options.batch_size(), "; the train split has ", train_rows, " rows"));
  }
  if (!options.has_learning_rate()) options.set_learning_rate(kDefaultLearningRate);
  if (options.optimizer() == TrainingOptions::OPTIMIZER_UNSPECIFIED) options.set_optimizer(TrainingOptions::ADAM);
  if (!options.has_weight_decay()) {
    options.set_weight_decay(options.optimizer() == TrainingOptions::ADAMW ? kDefaultAdamWeightDecay : 0);
  }
  if (options.schedule() == TrainingOptions::SCHEDULE_UNSPECIFIED) options.set_schedule(TrainingOptions::COSINE);
  if (!options.has_warmup_steps()) options.set_warmup_steps(0);
  if (!options.has_clip_norm()) options.set_clip_norm(kDefaultClipNorm);
  if (!options.has_ema_decay()) options.set_ema_decay(0);
  if (!options.has_validation_fraction()) options.set_validation_fraction(kDefaultValidationFraction);
  if (!options.has_validation_interval()) {
    options.set_validation_interval(std::clamp<uint64_t>(options.steps() / 20, 1, kMaxValidationInterval));
  }
  if (!options.has_patience()) options.set_patience(0);
  if (!options.has_max_nonfinite_steps()) options.set_max_nonfinite_steps(kDefaultNonfiniteSteps);
  if (!options.has_threads()) options.set_threads(1);
  if (options.trainer() == TrainingOptions::TRAINER_UNSPECIFIED) options.set_trainer(TrainingOptions::COMPILED);
  if (!options.has_checkpoint_interval_seconds()) options.set_checkpoint_interval_seconds(kDefaultCheckpointSeconds);
  return options;
}

}  // namespace densityd::training
