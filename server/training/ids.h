// Identifiers of trainings and datasets.
#pragma once

#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace densityd::training {

/// A fresh id such as "training-20260131-142501-9f3a61c2": the time in UTC, for people, and random digits, so that two
/// servers never choose the same. Precondition: `prefix` is lower-case letters.
std::string NewId(std::string_view prefix, absl::Time time);

}  // namespace densityd::training
