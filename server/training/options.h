// Training options: their limits and defaults.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/training.pb.h"

namespace densityd::training {

/// Fewest rows that a training takes.
inline constexpr uint64_t kMinRows = 10;

/// Checks every limit that does not depend on the data. INVALID_ARGUMENT for "options.<name>".
absl::Status CheckOptions(const density::v1::TrainingOptions& options);

/// Numbers of rows that are trained on and held out.
struct SplitSizes {
  uint64_t train = 0;
  uint64_t validation = 0;
};

/// Splits `rows` as the options say. INVALID_ARGUMENT for `rows` where there are fewer than kMinRows.
/// Precondition: CheckOptions is OK.
absl::StatusOr<SplitSizes> ComputeSplit(const density::v1::TrainingOptions& options, uint64_t rows);

/// The options with every default filled in. INVALID_ARGUMENT for `options.batch_size` where it is more than the train
/// split. Precondition: CheckOptions is OK.
absl::StatusOr<density::v1::TrainingOptions> ResolveOptions(density::v1::TrainingOptions options, uint64_t train_rows);

}  // namespace densityd::training
