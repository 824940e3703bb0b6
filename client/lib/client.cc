// Construction, and the calls about trainings, datasets and models.
#include "densityd/client.h"

#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/lib/channel.h"
#include "client/lib/client_impl.h"
#include "client/lib/pages.h"

namespace densityd {

namespace v1 = density::v1;
using client_internal::AllPages;

namespace {

/// A key that no other request has: 128 random bits.
std::string RandomKey() {
  std::random_device entropy;
  std::string key = "client-";
  for (int i = 0; i < 4; ++i) absl::StrAppend(&key, absl::Hex(entropy(), absl::kZeroPad8));
  return key;
}

}  // namespace

absl::StatusOr<Client> Client::Connect(ClientOptions options) {
  if (absl::Status status = client_internal::CheckOptions(options); !status.ok()) return status;
  return Client(std::make_unique<Impl>(std::move(options)));
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

const ClientOptions& Client::options() const { return impl_->options; }

absl::StatusOr<v1::Training> Client::Train(const v1::TrainRequest& request, const CallOptions& options) const {
  if (request.ByteSizeLong() > impl_->options.max_message_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rows: the request has ", request.ByteSizeLong(), " bytes, and ClientOptions::max_message_bytes is ",
        impl_->options.max_message_bytes, "; upload the rows as a dataset and train on that"));
  }
  const auto call = [&](const v1::TrainRequest& keyed) {
    return impl_->Call(*impl_->estimator, &v1::DensityEstimator::Stub::Train, keyed, options, Impl::Repeat::kAllowed);
  };
  if (!request.idempotency_key().empty()) return call(request);
  v1::TrainRequest keyed = request;
  keyed.set_idempotency_key(RandomKey());
  return call(keyed);
}

absl::StatusOr<v1::Training> Client::GetTraining(std::string_view id, const CallOptions& options) const {
  v1::GetTrainingRequest request;
  request.set_id(std::string(id));
  return impl_->Call(*impl_->trainings, &v1::Trainings::Stub::Get, request, options, Impl::Repeat::kAllowed);
}

absl::StatusOr<std::vector<v1::Training>> Client::ListTrainings(std::string_view model,
                                                                const CallOptions& options) const {
  v1::ListTrainingsRequest request;
  request.set_model(std::string(model));
  return AllPages<v1::Training>(
      request,
      [&](const v1::ListTrainingsRequest& page) {
        return impl_->Call(*impl_->trainings, &v1::Trainings::Stub::List, page, options, Impl::Repeat::kAllowed);
      },
      [](v1::ListTrainingsResponse& response) { return response.mutable_trainings(); });
}

absl::StatusOr<v1::Training> Client::Cancel(std::string_view id, const CallOptions& options) const {
  v1::CancelTrainingRequest request;
  request.set_id(std::string(id));
  return impl_->Call(*impl_->trainings, &v1::Trainings::Stub::Cancel, request, options, Impl::Repeat::kForbidden);
}

absl::StatusOr<v1::Dataset> Client::GetDataset(std::string_view id, const CallOptions& options) const {
  v1::GetDatasetRequest request;
  request.set_id(std::string(id));
  return impl_->Call(*impl_->datasets, &v1::Datasets::Stub::Get, request, options, Impl::Repeat::kAllowed);
}

absl::StatusOr<std::vector<v1::Dataset>> Client::ListDatasets(const CallOptions& options) const {
  return AllPages<v1::Dataset>(
      v1::ListDatasetsRequest(),
      [&](const v1::ListDatasetsRequest& page) {
        return impl_->Call(*impl_->datasets, &v1::Datasets::Stub::List, page, options, Impl::Repeat::kAllowed);
      },
      [](v1::ListDatasetsResponse& response) { return response.mutable_datasets(); });
}

absl::Status Client::DeleteDataset(std::string_view id, const CallOptions& options) const {
  v1::DeleteDatasetRequest request;
  request.set_id(std::string(id));
  return impl_->Call(*impl_->datasets, &v1::Datasets::Stub::Delete, request, options, Impl::Repeat::kForbidden)
      .status();
}

absl::StatusOr<std::vector<v1::ModelInfo>> Client::ListModels(const CallOptions& options) const {
  return AllPages<v1::ModelInfo>(
      v1::ListModelsRequest(),
      [&](const v1::ListModelsRequest& page) {
        return impl_->Call(*impl_->registry, &v1::ModelRegistry::Stub::List, page, options, Impl::Repeat::kAllowed);
      },
      [](v1::ListModelsResponse& response) { return response.mutable_models(); });
}

absl::StatusOr<v1::ModelDetail> Client::GetModel(std::string_view model, const CallOptions& options) const {
  v1::GetModelRequest request;
  request.set_model(std::string(model));
  return impl_->Call(*impl_->registry, &v1::ModelRegistry::Stub::Get, request, options, Impl::Repeat::kAllowed);
}

absl::StatusOr<v1::PlanDetail> Client::GetPlan(std::string_view model, v1::RowOp op, Precision precision,
                                               const CallOptions& options) const {
  v1::GetPlanRequest request;
  request.set_model(std::string(model));
  request.set_op(op);
  request.set_precision(precision == Precision::kFloat64 ? v1::PRECISION_FLOAT64 : v1::PRECISION_FLOAT32);
  return impl_->Call(*impl_->registry, &v1::ModelRegistry::Stub::GetPlan, request, options, Impl::Repeat::kAllowed);
}

absl::StatusOr<v1::VersionInfo> Client::Load(std::string_view model, const CallOptions& options) const {
  v1::LoadModelRequest request;
  request.set_model(std::string(model));
  return impl_->Call(*impl_->registry, &v1::ModelRegistry::Stub::Load, request, options, Impl::Repeat::kAllowed);
}

absl::StatusOr<v1::VersionInfo> Client::Unload(std::string_view model, const CallOptions& options) const {
  v1::UnloadModelRequest request;
  request.set_model(std::string(model));
  return impl_->Call(*impl_->registry, &v1::ModelRegistry::Stub::Unload, request, options, Impl::Repeat::kAllowed);
}

absl::Status Client::DeleteVersion(std::string_view name, uint64_t version, const CallOptions& options) const {
  v1::DeleteModelRequest request;
  request.set_name(std::string(name));
  request.set_version(version);
  return impl_->Call(*impl_->registry, &v1::ModelRegistry::Stub::Delete, request, options, Impl::Repeat::kForbidden)
      .status();
}

absl::StatusOr<v1::Aliases> Client::SetAlias(std::string_view name, std::string_view alias, uint64_t version,
                                             std::optional<uint64_t> expected_revision,
                                             const CallOptions& options) const {
  v1::SetAliasRequest request;
  request.set_name(std::string(name));
  request.set_alias(std::string(alias));
  request.set_version(version);
  if (expected_revision.has_value()) request.set_expected_revision(*expected_revision);
  // Without a compare, setting twice is the same as setting once.
  const auto repeat = expected_revision.has_value() ? Impl::Repeat::kForbidden : Impl::Repeat::kAllowed;
  return impl_->Call(*impl_->registry, &v1::ModelRegistry::Stub::SetAlias, request, options, repeat);
}

absl::StatusOr<v1::Aliases> Client::DeleteAlias(std::string_view name, std::string_view alias,
                                                std::optional<uint64_t> expected_revision,
                                                const CallOptions& options) const {
  v1::DeleteAliasRequest request;
  request.set_name(std::string(name));
  request.set_alias(std::string(alias));
  if (expected_revision.has_value()) request.set_expected_revision(*expected_revision);
  return impl_->Call(*impl_->registry, &v1::ModelRegistry::Stub::DeleteAlias, request, options,
                     Impl::Repeat::kForbidden);
}

}  // namespace densityd
