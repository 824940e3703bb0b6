#include "examples/demo/checks.h"

#include <cstdio>

namespace densityd::demo {

void Checks::Expect(bool holds, std::string_view claim) {
  std::printf("  [%s] %.*s\n", holds ? "ok" : "FAILED", static_cast<int>(claim.size()), claim.data());
  all_hold_ = all_hold_ && holds;
}

}  // namespace densityd::demo
