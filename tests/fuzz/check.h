// What a fuzz target says when a promise is broken.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "absl/status/status.h"
#include "google/protobuf/stubs/common.h"

/// Ends the process where `condition` does not hold: fuzzers take that for a crash and keep the input.
#define FUZZ_CHECK(condition)                                                             \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)

namespace densityd::fuzz {

/// Whether an error is one that a caller can be told: one of the codes given, with a text that gets through protobuf,
/// and not longer than gRPC's metadata may be, whatever came in.
template <typename... Codes>
bool IsTold(const absl::Status& status, Codes... codes) {
  return ((status.code() == codes) || ...) && !status.message().empty() && status.message().size() < 1100 &&
         google::protobuf::internal::IsStructurallyValidUTF8(status.message().data(),
                                                             static_cast<int>(status.message().size()));
}

/// Whether two numbers are the same, NaN included.
inline bool SameNumber(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

}  // namespace densityd::fuzz

/// A fuzz target: anything may come in, and whatever is promised about it is checked. Always returns 0.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size);
