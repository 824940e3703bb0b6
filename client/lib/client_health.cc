// grpc.health.v1, spoken without its generated code: a program that links the client may well have its own copy, and
// two copies of one proto file in a program abort it.
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "client/lib/client_impl.h"
#include "densityd/client.h"
#include "google/protobuf/empty.pb.h"
#include "google/protobuf/unknown_field_set.h"
#include "grpcpp/generic/generic_stub.h"

namespace densityd {
namespace {

// HealthCheckRequest { string service = 1; } and HealthCheckResponse { ServingStatus status = 1; }.
constexpr char kCheckMethod[] = "/grpc.health.v1.Health/Check";
constexpr int kServiceField = 1;
constexpr int kStatusField = 1;
constexpr uint64_t kServing = 1;

/// The value of the response's status field.
uint64_t ServingStatus(const google::protobuf::Empty& response) {
  const google::protobuf::UnknownFieldSet& fields = response.GetReflection()->GetUnknownFields(response);
  uint64_t status = 0;
  for (int i = 0; i < fields.field_count(); ++i) {
    const google::protobuf::UnknownField& field = fields.field(i);
    if (field.number() == kStatusField && field.type() == google::protobuf::UnknownField::TYPE_VARINT) {
      status = field.varint();
    }
  }
  return status;
}

}  // namespace

absl::StatusOr<Health> Client::CheckHealth(std::string_view service, const CallOptions& options) const {
  using google::protobuf::Empty;
  const absl::Time deadline = impl_->Deadline(options.timeout);
  Empty request;
  request.GetReflection()->MutableUnknownFields(&request)->AddLengthDelimited(kServiceField, std::string(service));
  Empty response;
  grpc::TemplatedGenericStub<Empty, Empty> stub(impl_->channel);
  absl::Status status =
      client_internal::Retry(impl_->NewBackoff(deadline), *impl_->environment, [&](client_internal::Backoff&) {
        grpc::ClientContext context;
        impl_->Prepare(context, deadline);
        absl::Notification done;
        grpc::Status called;
        stub.UnaryCall(&context, kCheckMethod, grpc::StubOptions(), &request, &response, [&](grpc::Status result) {
          called = std::move(result);
          done.Notify();
        });
        done.WaitForNotification();
        return client_internal::FromGrpc(called);
      });
  if (absl::IsNotFound(status)) {
    return absl::NotFoundError(absl::StrCat("the server has no health service name '", std::string(service), "'"));
  }
  if (!status.ok()) return impl_->Explain(status);
  return ServingStatus(response) == kServing ? Health::kServing : Health::kNotServing;
}

}  // namespace densityd
