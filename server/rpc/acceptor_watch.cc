#include "server/rpc/acceptor_watch.h"

#include <utility>

#include "server/base/logging.h"
#include "server/base/strings.h"

namespace densityd::rpc {
namespace {

constexpr int kFailuresThatCount = 2;

}  // namespace

AcceptorWatch::AcceptorWatch(Probe probe, absl::Duration interval, OnChange on_change)
    : probe_(std::move(probe)), on_change_(std::move(on_change)), watch_(interval, [this] { Observe(probe_()); }) {}

void AcceptorWatch::Observe(const absl::Status& status) {
  if (status.ok()) {
    if (failures_ >= kFailuresThatCount) {
      Log(LogLevel::kInfo, "connections are accepted again");
      on_change_(true);
    }
    failures_ = 0;
    return;
  }
  if (++failures_ != kFailuresThatCount) return;
  Log(LogLevel::kError, "connections are not accepted", {{"error", ToStd(status.message())}});
  on_change_(false);
}

}  // namespace densityd::rpc
