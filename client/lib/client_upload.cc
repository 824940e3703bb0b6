// Upload of datasets, in chunks of one stream.
#include <algorithm>
#include <utility>

#include "client/lib/chunks.h"
#include "client/lib/client_impl.h"
#include "client/lib/matrix_codec.h"
#include "densityd/client.h"

namespace densityd {

namespace v1 = density::v1;

namespace {

// Chunks are kept well below the largest message, so that progress moves.
constexpr size_t kChunkBytes = size_t{1} << 20;

}  // namespace

struct DatasetUpload::Impl {
  explicit Impl(const Client::Impl& client_impl) : client(&client_impl) {}
  ~Impl() {
    if (ended) return;
    context.TryCancel();
    writer->Finish();
  }

  /// Ends the stream, whose outcome is the answer to every later call.
  absl::Status End() {
    if (!ended) {
      ended = true;
      outcome = client->Explain(client_internal::FromGrpc(writer->Finish()));
    }
    return outcome;
  }

  template <typename T>
  absl::Status Append(RowsView<T> rows, absl::FunctionRef<void(size_t)> on_sent) {
    if (ended) {
      return outcome.ok() ? absl::FailedPreconditionError("the upload has ended; begin another one") : outcome;
    }
    if (!rows.well_formed()) {
      return absl::InvalidArgumentError(
          absl::StrCat("rows: ", rows.values().size(), " numbers are no rows of ", rows.cols(), " columns"));
    }
    const size_t row_bytes = rows.cols() * sizeof(T);
    absl::StatusOr<size_t> fitting = client_internal::RowsPerRequest(client->options, row_bytes, first.ByteSizeLong());
    if (!fitting.ok()) return fitting.status();
    const size_t chunk_rows = std::min(*fitting, std::max<size_t>(kChunkBytes / row_bytes, 1));
    for (size_t begin = 0; begin < rows.rows(); begin += chunk_rows) {
      const size_t count = std::min(chunk_rows, rows.rows() - begin);
      v1::UploadDatasetRequest message = std::exchange(first, v1::UploadDatasetRequest());
      client_internal::Encode(rows.Slice(begin, count), message.mutable_rows());
      // A write that fails means that the server has answered: its answer says why.
      if (!writer->Write(message)) {
        const absl::Status status = End();
        return status.ok() ? absl::InternalError("the server ended the upload before all rows were sent") : status;
      }
      on_sent(begin + count);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<v1::Dataset> Finish() {
    if (!ended) writer->WritesDone();
    const absl::Status status = End();
    if (!status.ok()) return status;
    return dataset;
  }

  const Client::Impl* client;
  grpc::ClientContext context;
  v1::UploadDatasetRequest first;  ///< the fields of the first message; empty once it was sent
  v1::Dataset dataset;             ///< the answer
  std::unique_ptr<grpc::ClientWriter<v1::UploadDatasetRequest>> writer;
  bool ended = false;
  absl::Status outcome;
};

DatasetUpload::DatasetUpload(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DatasetUpload::DatasetUpload(DatasetUpload&&) noexcept = default;
DatasetUpload& DatasetUpload::operator=(DatasetUpload&&) noexcept = default;
DatasetUpload::~DatasetUpload() = default;

absl::Status DatasetUpload::Append(RowsView<float> rows) {
  return impl_->Append(rows, [](size_t) {});
}
absl::Status DatasetUpload::Append(RowsView<double> rows) {
  return impl_->Append(rows, [](size_t) {});
}
absl::StatusOr<v1::Dataset> DatasetUpload::Finish() { return impl_->Finish(); }

absl::StatusOr<DatasetUpload> Client::BeginUpload(const UploadOptions& options) const {
  const absl::Time deadline = impl_->environment->Now() + options.timeout.value_or(absl::InfiniteDuration());
  auto upload = std::make_unique<DatasetUpload::Impl>(*impl_);
  upload->first.set_display_name(options.display_name);
  upload->first.mutable_columns()->Add(options.columns.begin(), options.columns.end());
  upload->first.mutable_missing_columns()->Add(options.missing_columns.begin(), options.missing_columns.end());
  impl_->Prepare(upload->context, deadline);
  impl_->AwaitConnection(deadline);
  upload->writer = impl_->datasets->Upload(&upload->context, &upload->dataset);
  return DatasetUpload(std::move(upload));
}

template <RowNumber T>
absl::StatusOr<v1::Dataset> Client::UploadRows(RowsView<T> rows, const UploadOptions& options,
                                               const OnUpload& on_upload) const {
  absl::StatusOr<DatasetUpload> upload = BeginUpload(options);
  if (!upload.ok()) return upload.status();
  absl::Status status = upload->impl_->Append(rows, [&](size_t rows_sent) {
    if (on_upload != nullptr) on_upload(rows_sent, rows.rows());
  });
  if (!status.ok()) return status;
  return upload->Finish();
}

absl::StatusOr<v1::Dataset> Client::Upload(RowsView<float> rows, const UploadOptions& options,
                                           const OnUpload& on_upload) const {
  return UploadRows(rows, options, on_upload);
}

absl::StatusOr<v1::Dataset> Client::Upload(RowsView<double> rows, const UploadOptions& options,
                                           const OnUpload& on_upload) const {
  return UploadRows(rows, options, on_upload);
}

}  // namespace densityd
