#include "server/registry/root_poll.h"

#include <map>
#include <utility>

#include "server/base/logging.h"

namespace densityd::registry {

RootPoll::RootPoll(ModelManager& models, absl::Duration interval)
    : models_(models), poll_(interval, [this] { Look(); }) {}

void RootPoll::Look() {
  const absl::StatusOr<density::v1::ReloadFromDiskResponse> changes =
      models_.ReloadFromDisk(/*name=*/"", /*retry_failed=*/false);
  std::map<std::string, std::string> failures;
  if (!changes.ok()) {
    failures.emplace("", changes.status().ToString());
  } else {
    for (const density::v1::ReloadFailure& failure : changes->failed()) {
      failures.emplace(failure.model(), failure.error());
    }
  }
  // A disk that is away for hours needs one line, not thousands.
  for (const auto& [model, error] : failures) {
    if (failing_.count(model) > 0) continue;
    Log(LogLevel::kWarning, "models not reloaded", {{"model", model}, {"error", error}});
  }
  std::set<std::string> failing;
  for (const auto& [model, error] : failures) failing.insert(model);
  for (const std::string& model : failing_) {
    if (failing.count(model) == 0) Log(LogLevel::kInfo, "models are reloaded again", {{"model", model}});
  }
  failing_ = std::move(failing);
}

}  // namespace densityd::registry
