#include "server/base/retry_info.h"

#include <google/rpc/error_details.pb.h>

#include "absl/strings/cord.h"

namespace densityd {

void AttachRetryInfo(absl::Duration delay, absl::Status& status) {
  google::rpc::RetryInfo retry;
  absl::Duration rest;
  retry.mutable_retry_delay()->set_seconds(absl::IDivDuration(delay, absl::Seconds(1), &rest));
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  status.SetPayload("type.googleapis.com/google.rpc.RetryInfo", absl::Cord(retry.SerializeAsString()));
}

}  // namespace densityd
