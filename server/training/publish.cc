#include "server/training/publish.h"

#include <utility>
#include <vector>

#include "server/engine/weights.h"
#include "server/training/calibration.h"
#include "server/training/warm_start.h"
#include "torch/version.h"

namespace densityd::training {

absl::StatusOr<uint64_t> PublishModel(registry::ModelStore& models, const TrainingJob& job, const TrainedFlow& trained,
                                      const TrainingData& data, const std::string& source) {
  absl::StatusOr<std::vector<registry::Tensor>> tensors = engine::FlowToTensors(*trained.flow);
  if (!tensors.ok()) return tensors.status();
  density::v1::ModelManifest manifest;
  *manifest.mutable_spec() = trained.flow->spec();
  *manifest.mutable_schema() = data.schema;
  *manifest.mutable_calibration() = Calibrate(trained.validation_log_prob);
  *manifest.mutable_report() = trained.report;
  density::v1::Provenance& provenance = *manifest.mutable_provenance();
  provenance.set_training_id(job.id());
  provenance.set_data(source);
  provenance.set_data_sha256(data.sha256);
  provenance.set_densityd_version(DENSITYD_VERSION);
  provenance.set_libtorch_version(TORCH_VERSION);
  provenance.set_warm_start(WarmStartName(job));
  if (job.request().has_preset()) *provenance.mutable_preset() = job.request().preset();
  return models.Publish(job.request().model(), std::move(manifest), *tensors);
}

}  // namespace densityd::training
