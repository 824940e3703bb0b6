// Versions as archives, and what other servers did to a shared root.
#include <algorithm>
#include <utility>

#include "client/lib/client_impl.h"
#include "densityd/client.h"

namespace densityd {

namespace v1 = density::v1;

absl::Status Client::Export(std::string_view model, const OnPiece& on_piece, const CallOptions& options) const {
  const absl::Time deadline = impl_->environment->Now() + options.timeout.value_or(absl::InfiniteDuration());
  v1::ExportModelRequest request;
  request.set_model(std::string(model));
  grpc::ClientContext context;
  impl_->Prepare(context, deadline);
  impl_->AwaitConnection(deadline);
  const auto reader = impl_->registry->Export(&context, request);
  v1::ExportModelResponse response;
  while (reader->Read(&response)) {
    if (absl::Status status = on_piece(response.chunk()); !status.ok()) {
      context.TryCancel();
      reader->Finish();
      return status;
    }
  }
  return impl_->Explain(client_internal::FromGrpc(reader->Finish()));
}

absl::StatusOr<v1::VersionInfo> Client::Import(std::string_view name, const NextPiece& next_piece,
                                               const CallOptions& options) const {
  const absl::Time deadline = impl_->environment->Now() + options.timeout.value_or(absl::InfiniteDuration());
  grpc::ClientContext context;
  impl_->Prepare(context, deadline);
  impl_->AwaitConnection(deadline);
  v1::VersionInfo version;
  const auto writer = impl_->registry->Import(&context, &version);
  v1::ImportModelRequest request;
  request.set_name(std::string(name));
  // Well below any message limit.
  constexpr size_t kChunkBytes = size_t{1} << 20;
  bool open = true;
  while (open) {
    const absl::StatusOr<std::string_view> piece = next_piece();
    if (!piece.ok()) {
      context.TryCancel();
      writer->Finish();
      return piece.status();
    }
    if (piece->empty()) break;
    const size_t chunk_bytes = std::min(kChunkBytes, impl_->options.max_message_bytes / 2);
    // A write that fails means that the server has answered: its answer says why.
    for (size_t at = 0; at < piece->size() && open; at += chunk_bytes) {
      request.set_chunk(std::string(piece->substr(at, chunk_bytes)));
      open = writer->Write(request);
      request.Clear();
    }
  }
  if (open) writer->WritesDone();
  absl::Status status = impl_->Explain(client_internal::FromGrpc(writer->Finish()));
  if (!status.ok()) return status;
  if (!open) return absl::InternalError("the server ended the import before all of it was sent");
  return version;
}

absl::StatusOr<v1::ReloadFromDiskResponse> Client::ReloadFromDisk(std::string_view model,
                                                                  const CallOptions& options) const {
  v1::ReloadFromDiskRequest request;
  request.set_model(std::string(model));
  return impl_->Call(*impl_->registry, &v1::ModelRegistry::Stub::ReloadFromDisk, request, options,
                     Impl::Repeat::kAllowed);
}

}  // namespace densityd
