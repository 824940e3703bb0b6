// Claims that the demo makes, each one checked.
#pragma once

#include <string_view>

namespace densityd::demo {

/// Prints each claim with whether it holds, and remembers whether all did.
class Checks {
 public:
  void Expect(bool holds, std::string_view claim);
  bool all_hold() const { return all_hold_; }

 private:
  bool all_hold_ = true;
};

}  // namespace densityd::demo
