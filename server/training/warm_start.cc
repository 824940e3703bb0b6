#include "server/training/warm_start.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"
#include "server/registry/names.h"

namespace densityd::training {
namespace {

absl::StatusOr<uint64_t> FindVersion(const registry::ModelStore& models, const registry::ModelReference& reference) {
  if (reference.version.has_value()) return *reference.version;
  absl::StatusOr<density::v1::Aliases> aliases = models.ReadAliases(reference.name);
  if (!aliases.ok()) return aliases.status();
  const auto named = aliases->versions().find(reference.alias);
  if (named != aliases->versions().end()) return named->second;
  return NotFound("alias", absl::StrCat(reference.name, "@", reference.alias), "no such alias");
}

bool IsNumber(const std::string& name) { return std::all_of(name.begin(), name.end(), absl::ascii_isdigit); }

template <typename Columns>
absl::Status CheckSameNames(const Columns& model, const Columns& data) {
  for (int i = 0; i < std::min(model.size(), data.size()); ++i) {
    const std::string& expected = model[i].name();
    const std::string& given = data[i].name();
    if (expected == given || IsNumber(expected) || IsNumber(given)) continue;
    return InvalidArgument("warm_start",
                           absl::StrCat("the version's column ", i, " is ", Quote(expected), ", that of the data ",
                                        Quote(given), "; name the columns in the version's order"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ResolveWarmStart(const registry::ModelStore& models, density::v1::TrainRequest& request,
                              TrainingJob& job) {
  if (request.warm_start().empty()) return absl::OkStatus();
  if (request.flow_case() != density::v1::TrainRequest::FLOW_NOT_SET) {
    return InvalidArgument("warm_start", "takes the flow from a version; leave `preset` and `spec` out");
  }
  absl::StatusOr<registry::ModelReference> reference =
      registry::ParseModelReference("warm_start", request.warm_start());
  if (!reference.ok()) return reference.status();
  const absl::StatusOr<uint64_t> version = FindVersion(models, *reference);
  if (!version.ok()) return Annotate(version.status(), "warm_start");
  absl::StatusOr<density::v1::ModelManifest> manifest = models.ReadManifest(reference->name, *version);
  if (!manifest.ok()) return Annotate(manifest.status(), "warm_start");
  *request.mutable_spec() = manifest->spec();
  job.set_warm_start_model(reference->name);
  job.set_warm_start_version(*version);
  return absl::OkStatus();
}

absl::Status CheckSameColumns(const density::v1::FeatureSchema& model, const density::v1::FeatureSchema& data) {
  if (absl::Status status = CheckSameNames(model.features(), data.features()); !status.ok()) return status;
  return CheckSameNames(model.context(), data.context());
}

std::string WarmStartName(const TrainingJob& job) {
  if (job.warm_start_model().empty()) return "";
  return absl::StrCat(job.warm_start_model(), "@", job.warm_start_version());
}

}  // namespace densityd::training
