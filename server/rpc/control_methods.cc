#include "server/rpc/control_methods.h"

#include "google/protobuf/descriptor.h"
#include "server/rpc/row_worker.h"

namespace densityd::rpc {
namespace {

/// Calls of each method that wait on each worker for a request to arrive: one is posted anew for each that does.
constexpr int kPostedCalls = 2;

}  // namespace

void ControlMethods::PostControlCalls(RowWorker& worker) const {
  for (const auto& [method, maker] : makers_) {
    for (int i = 0; i < kPostedCalls; ++i) worker.Post(maker({&worker, this, method}));
  }
}

int IndexOfMethod(const std::string& name) {
  return google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(name)->index();
}

}  // namespace densityd::rpc
